//! A chunk of records to a batch of typed columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use etl_core::model::{Place, StepError};

use super::chunk::{Chunk, unescape};
use super::records::Field;
use crate::column::{Builder, Cells, ColumnType, Guess, TextFormat, shape};
use crate::flow::{BadRecord, fault};

/// Texts that mean null.
#[derive(Debug, Clone)]
pub(super) struct Nulls {
    empty: bool,
    others: Vec<String>,
}

impl Nulls {
    pub(super) fn new(texts: &[String]) -> Self {
        Self {
            empty: texts.iter().any(String::is_empty),
            others: texts
                .iter()
                .filter(|text| !text.is_empty())
                .cloned()
                .collect(),
        }
    }

    fn is_marker(&self, text: &str) -> bool {
        self.others.iter().any(|marker| marker == text)
    }

    /// The cell's text, or `None` for null.
    fn cell<'a>(&self, text: &'a str, is_quoted: bool, typed: bool) -> Option<&'a str> {
        if typed {
            let text = text.trim_ascii();
            let is_null = text.is_empty() || self.is_marker(text);
            return (!is_null).then_some(text);
        }
        let is_null = (text.is_empty() && self.empty && !is_quoted) || self.is_marker(text);
        (!is_null).then_some(text)
    }
}

/// What the rows of a source are decoded to: the same for all its files.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    pub(super) schema: SchemaRef,
    pub(super) types: Arc<[ColumnType]>,
    pub(super) format: TextFormat,
    pub(super) nulls: Nulls,
    pub(super) quote: u8,
}

/// One column of a chunk.
struct Column<'a> {
    chunk: &'a Chunk,
    text: &'a str,
    position: usize,
    nulls: &'a Nulls,
    quote: u8,
}

impl Column<'_> {
    fn field(&self, row: usize) -> Field {
        self.chunk.fields[row * self.chunk.width + self.position]
    }
}

impl Cells for Column<'_> {
    fn count(&self) -> usize {
        self.chunk.rows.len()
    }

    fn bytes(&self) -> usize {
        (0..self.count())
            .map(|row| self.field(row).range().len())
            .sum()
    }

    fn each(&self, typed: bool, mut each: impl FnMut(usize, Option<&str>)) {
        for row in 0..self.count() {
            let field = self.field(row);
            let text = &self.text[field.range()];
            if field.is_escaped() {
                let text = unescape(text, field, self.quote);
                each(row, self.nulls.cell(&text, true, typed));
            } else {
                each(row, self.nulls.cell(text, field.is_quoted(), typed));
            }
        }
    }
}

impl Decoder {
    /// The batch of the chunk's good rows, and what was found bad now, in the order of the file. `mapping` is the position of
    /// each column in this file's records.
    pub(super) fn decode(
        &self,
        mut chunk: Chunk,
        mapping: &[usize],
    ) -> Result<(RecordBatch, Vec<BadRecord>), StepError> {
        let mut bad = std::mem::take(&mut chunk.bad);
        drop_invalid_text(&mut chunk, &mut bad);
        let text = std::str::from_utf8(&chunk.text)
            .map_err(|error| StepError::permanent("text was not checked").because(error))?;
        let mut misfits: Vec<(u32, u32)> = Vec::new();
        let arrays: Vec<ArrayRef> = mapping
            .iter()
            .enumerate()
            .map(|(index, position)| {
                let column = Column {
                    chunk: &chunk,
                    text,
                    position: *position,
                    nulls: &self.nulls,
                    quote: self.quote,
                };
                let builder = Builder {
                    column_type: self.types[index],
                    format: &self.format,
                };
                builder.build(&column, |row, _| misfits.push((row as u32, index as u32)))
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.rows.len()));
        let mut batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| fault::arrow("making a batch of rows", error))?;
        if !misfits.is_empty() {
            batch = self.without(&chunk, text, mapping, batch, misfits, &mut bad)?;
        }
        bad.sort_by_key(|record| record.place.row);
        Ok((batch, bad))
    }

    /// The batch without the rows that have a misfit; each of them becomes a bad record, for its first misfit.
    fn without(
        &self,
        chunk: &Chunk,
        text: &str,
        mapping: &[usize],
        batch: RecordBatch,
        mut misfits: Vec<(u32, u32)>,
        bad: &mut Vec<BadRecord>,
    ) -> Result<RecordBatch, StepError> {
        misfits.sort_unstable();
        misfits.dedup_by_key(|(row, ..)| *row);
        let mut keep = vec![true; batch.num_rows()];
        for (at, index) in misfits {
            let (at, index) = (at as usize, index as usize);
            keep[at] = false;
            let row = chunk.rows[at];
            let field = chunk.fields[at * chunk.width + mapping[index]];
            let cell = unescape(&text[field.range()], field, self.quote);
            let place = Place {
                column: Some(self.schema.field(index).name().clone()),
                ..chunk.place(row)
            };
            let cause = format!(
                "the value is no {} (its form is {:?})",
                self.types[index],
                shape(cell.trim_ascii())
            );
            let raw = &text[row.start as usize..row.end as usize];
            bad.push(BadRecord::new(place, cause, raw.as_bytes()));
        }
        filter_record_batch(&batch, &BooleanArray::from(keep))
            .map_err(|error| fault::arrow("setting bad rows aside", error))
    }
}

/// Moves rows that are not valid text from the chunk to the bad records, and makes the whole text valid, so that it needs to be
/// checked once and not cell by cell.
fn drop_invalid_text(chunk: &mut Chunk, bad: &mut Vec<BadRecord>) {
    let Err(first) = std::str::from_utf8(&chunk.text) else {
        return;
    };
    let mut next = Some(first);
    let mut from = 0;
    let mut invalid = vec![false; chunk.rows.len()];
    while let Some(error) = next {
        let at = from + error.valid_up_to();
        // Records before this one keep their place, as rows are in the order of the text.
        let row = chunk
            .rows
            .partition_point(|row| (row.end as usize) <= at)
            .min(chunk.rows.len());
        if let Some(found) = chunk.rows.get(row).filter(|row| (row.start as usize) <= at)
            && !invalid[row]
        {
            invalid[row] = true;
            let (start, end) = (found.start as usize, found.end as usize);
            let cause = format!(
                "byte {} of the record is not valid in the source's encoding",
                at - start + 1
            );
            bad.push(BadRecord::new(
                chunk.place(*found),
                cause,
                &chunk.text[start..end],
            ));
        }
        let length = error.error_len().unwrap_or(chunk.text.len() - at);
        chunk.text[at..at + length].fill(b' ');
        from = at + length;
        next = std::str::from_utf8(&chunk.text[from..]).err();
    }
    let mut kept = Vec::with_capacity(chunk.fields.len());
    for (row, _) in invalid.iter().enumerate().filter(|(_, invalid)| !**invalid) {
        kept.extend_from_slice(&chunk.fields[row * chunk.width..(row + 1) * chunk.width]);
    }
    chunk.fields = kept;
    let mut invalid = invalid.into_iter();
    chunk.rows.retain(|_| !invalid.next().unwrap_or(false));
}

/// Takes the cells of a chunk into account for the type of each column. Rows that are no text count for nothing.
pub(super) fn observe(
    chunk: &Chunk,
    format: &TextFormat,
    nulls: &Nulls,
    quote: u8,
    guesses: &mut [Guess],
) {
    for row in 0..chunk.rows.len() {
        for (position, guess) in guesses.iter_mut().enumerate() {
            let field = chunk.fields[row * chunk.width + position];
            let Ok(text) = std::str::from_utf8(&chunk.text[field.range()]) else {
                continue;
            };
            let text = unescape(text, field, quote);
            if let Some(text) = nulls.cell(&text, field.is_quoted(), true) {
                guess.see(text, format);
            }
        }
    }
}

/// The columns of a source: names from its header, types from its configuration or a sample.
pub(super) fn schema_of(names: &[String], types: &[ColumnType]) -> SchemaRef {
    let fields: Vec<_> = names
        .iter()
        .zip(types)
        .map(|(name, column_type)| column_type.field(name))
        .collect();
    Arc::new(Schema::new(fields))
}
