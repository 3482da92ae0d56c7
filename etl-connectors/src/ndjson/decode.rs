//! Lines of JSON objects to a batch of typed columns.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use etl_core::model::{Place, StepError};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::lines::Chunk;
use crate::column::{Builder, Cells, ColumnType, Columns, TextFormat, shape};
use crate::flow::{BadRecord, fault};

/// The most cells of a batch: a few short lines may stand for very many cells, as every missing key is one.
const BATCH_CELLS: usize = 1024 * 1024;

/// How much of a key is shown, in characters.
const SHOWN_OF_A_KEY: usize = 60;

/// The keys of a source, in the order in which they were first seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    names: Vec<String>,
    positions: HashMap<String, usize>,
}

impl Keys {
    /// The position of a key; a new one is added.
    pub(super) fn position_or_add(&mut self, name: &str) -> usize {
        if let Some(position) = self.positions.get(name) {
            return *position;
        }
        self.names.push(name.to_owned());
        self.positions.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

/// What the values of a key have been so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    int: bool,
    float: bool,
    boolean: bool,
    string: bool,
    nested: bool,
    /// Whole numbers that an `int64` can't hold. As floats they would lose their last digits.
    wide: bool,
}

impl Seen {
    /// Takes in a value.
    pub(super) fn see(&mut self, value: &RawValue) {
        match value.get().as_bytes().first() {
            Some(b'"') => self.string = true,
            Some(b'{' | b'[') => self.nested = true,
            Some(b't' | b'f') => self.boolean = true,
            Some(b'n') | None => {}
            Some(_) if TextFormat::int64(value.get()).is_some() => self.int = true,
            Some(_) if value.get().contains(['.', 'e', 'E']) => self.float = true,
            Some(_) => self.wide = true,
        }
    }

    /// The type that holds them all.
    pub(super) fn column_type(self) -> ColumnType {
        let kinds =
            u8::from(self.int || self.float) + u8::from(self.boolean) + u8::from(self.string);
        if self.nested {
            ColumnType::Json
        } else if kinds != 1 || self.string || self.wide {
            ColumnType::String
        } else if self.boolean {
            ColumnType::Boolean
        } else if self.float {
            ColumnType::Float64
        } else {
            ColumnType::Int64
        }
    }
}

/// A line's keys and values, in its own order.
pub(super) struct Record<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Record<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    pairs.push((key, map.next_value()?));
                }
                Ok(Record(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// A key, borrowed where it has no escape.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// What the rows of a source are decoded to.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    keys: Keys,
    types: Vec<ColumnType>,
    pub(super) schema: SchemaRef,
    format: TextFormat,
}

/// The values of one key, a cell per row.
struct Column<'a>(Vec<Option<Cow<'a, str>>>);

impl Cells for Column<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> usize {
        self.0.iter().flatten().map(|text| text.len()).sum()
    }

    fn each(&self, _: bool, mut each: impl FnMut(usize, Option<&str>)) {
        for (at, cell) in self.0.iter().enumerate() {
            each(at, cell.as_deref());
        }
    }
}

impl Decoder {
    /// For these keys: their types as configured, else as seen.
    pub(super) fn new(mut keys: Keys, seen: &[Seen], configured: &Columns) -> Self {
        // A key that the configuration names is a column even if the sample lacks it.
        for name in configured.keys() {
            keys.position_or_add(name);
        }
        let types: Vec<_> = keys
            .names
            .iter()
            .enumerate()
            .map(|(at, name)| match configured.get(name) {
                Some(column_type) => *column_type,
                None => seen.get(at).copied().unwrap_or_default().column_type(),
            })
            .collect();
        let fields: Vec<_> = keys
            .names
            .iter()
            .zip(&types)
            .map(|(name, column_type)| column_type.field(name))
            .collect();
        Self {
            keys,
            types,
            schema: Arc::new(Schema::new(fields)),
            format: TextFormat::default(),
        }
    }

    /// How many rows a batch may have.
    pub(super) fn batch_rows(&self) -> usize {
        (BATCH_CELLS / self.types.len().max(1)).max(1)
    }

    /// The batch of the good ones of these rows, and what is bad, in the order of the file.
    pub(super) fn decode(
        &self,
        chunk: &Chunk,
        rows: Range<usize>,
    ) -> Result<(RecordBatch, Vec<BadRecord>), StepError> {
        let mut bad = Vec::new();
        let first = rows.start;
        let count = rows.len();
        let mut columns: Vec<Column<'_>> = self
            .types
            .iter()
            .map(|_| Column(vec![None; count]))
            .collect();
        let mut misfits: Vec<(usize, Option<usize>, String)> = Vec::new();
        let mut filled = vec![None; self.types.len()];
        for row in 0..count {
            match serde_json::from_slice::<Record<'_>>(chunk.line(first + row)) {
                Err(error) => misfits.push((row, None, cause_of(&error))),
                Ok(Record(pairs)) => {
                    if let Err(cause) = self.place(row, pairs, &mut columns, &mut filled) {
                        misfits.push((row, None, cause));
                    }
                }
            }
        }
        let arrays: Vec<ArrayRef> = columns
            .iter()
            .zip(&self.types)
            .enumerate()
            .map(|(index, (column, column_type))| {
                let builder = Builder {
                    column_type: *column_type,
                    format: &self.format,
                };
                builder.build(column, |row, text| {
                    let cause = format!(
                        "the value is no {column_type} (its form is {:?})",
                        shape(text)
                    );
                    misfits.push((row, Some(index), cause));
                })
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let mut batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| fault::arrow("making a batch of rows", error))?;
        if !misfits.is_empty() {
            misfits.sort_unstable();
            misfits.dedup_by_key(|(row, ..)| *row);
            let mut keep = vec![true; count];
            for (row, index, cause) in misfits {
                keep[row] = false;
                let place = Place {
                    column: index.map(|index| self.keys.names[index].clone()),
                    ..chunk.place(first + row)
                };
                bad.push(BadRecord::new(place, cause, chunk.line(first + row)));
            }
            batch = filter_record_batch(&batch, &BooleanArray::from(keep))
                .map_err(|error| fault::arrow("setting bad rows aside", error))?;
        }
        Ok((batch, bad))
    }

    /// Puts a record's values into their columns. `filled` is the row that each column was last filled for.
    fn place<'a>(
        &self,
        row: usize,
        pairs: Vec<(Cow<'a, str>, &'a RawValue)>,
        columns: &mut [Column<'a>],
        filled: &mut [Option<usize>],
    ) -> Result<(), String> {
        let shown = |key: &str| key.chars().take(SHOWN_OF_A_KEY).collect::<String>();
        for (at, (key, value)) in pairs.into_iter().enumerate() {
            // Most records have their keys in the same order.
            let position = match self.keys.names.get(at) {
                Some(name) if *name == key => at,
                _ => *self.keys.positions.get(&*key).ok_or_else(|| {
                    format!(
                        "the key {:?} was not in the first rows; name it in `schema`",
                        shown(&key)
                    )
                })?,
            };
            if filled[position].replace(row) == Some(row) {
                return Err(format!("the key {:?} is there twice", shown(&key)));
            }
            columns[position].0[row] = cell(value, self.types[position])?;
        }
        Ok(())
    }
}

/// A value as text: of a string its content, of everything else its JSON.
fn cell(value: &RawValue, column_type: ColumnType) -> Result<Option<Cow<'_, str>>, String> {
    let json = value.get();
    if json == "null" {
        return Ok(None);
    }
    let is_string = json.starts_with('"');
    if !is_string || column_type == ColumnType::Json {
        return Ok(Some(Cow::Borrowed(json)));
    }
    let content = json.get(1..json.len() - 1).unwrap_or_default();
    if !content.contains('\\') {
        return Ok(Some(Cow::Borrowed(content)));
    }
    serde_json::from_str::<String>(json)
        .map(|text| Some(Cow::Owned(text)))
        // Its form was checked with the line's; what is left to be wrong is half of a surrogate pair.
        .map_err(|_| "a text has an escape that stands for no character".to_owned())
}

/// What is wrong with a line, without its content: the library's own messages may quote it.
pub(super) fn cause_of(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => "the line is no JSON object".to_owned(),
        Category::Eof => "the line ends in the middle of a JSON value".to_owned(),
        Category::Syntax | Category::Io => {
            format!("the line is not valid JSON at its byte {}", error.column())
        }
    }
}
