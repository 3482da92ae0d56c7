//! Rows to one folder per value of the partition columns, Hive style, with a bounded number of open files.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use etl_core::model::StepError;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::{Encoder, Files, Format};
use crate::flow::fault;
use crate::location::PARTITION_NULL;

/// How many files may be open at once. The first folders have them; rows of more folders are kept until they are worth a file.
const MAX_OPEN: usize = 64;

/// How much all open files may hold in memory together.
const MAX_BUFFERED_BYTES: usize = 96 * 1024 * 1024;

/// How much the rows may take together that are kept for folders without an open file. Without them unsorted rows of many
/// folders would make a file of a few rows for every folder and batch.
const MAX_PENDING_BYTES: usize = 64 * 1024 * 1024;

/// What Hive escapes in a folder's name, and what a path could not hold.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'\'')
    .add(b'*')
    .add(b'/')
    .add(b':')
    .add(b'=')
    .add(b'?')
    .add(b'\\')
    .add(b'{')
    .add(b'[')
    .add(b']')
    .add(b'^');

/// Splits rows by the values of some columns.
pub(super) struct Partitioned {
    /// Positions of the partition columns, in the order of the folders.
    by: Vec<usize>,
    /// Positions of the others.
    rest: Vec<usize>,
    rest_schema: SchemaRef,
    open: HashMap<Arc<str>, Box<dyn Encoder>>,
    pending: HashMap<Arc<str>, Pending>,
    pending_bytes: usize,
    /// How many files each folder has got.
    parts: HashMap<Arc<str>, usize>,
}

/// A folder and the positions of its rows in a batch.
type Group = (Arc<str>, Vec<u32>);

/// Rows of a folder that has no open file.
#[derive(Default)]
struct Pending {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Partitioned {
    pub(super) fn new(schema: &SchemaRef, columns: &[String]) -> Result<Self, StepError> {
        let by: Vec<usize> = columns
            .iter()
            .map(|name| {
                schema.index_of(name).map_err(|_| {
                    let known: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                    StepError::permanent(format!(
                        "`partition_by` names {name:?}, which is no column of the rows; they have {}",
                        known.join(", ")
                    ))
                })
            })
            .collect::<Result<_, _>>()?;
        let rest: Vec<usize> = (0..schema.fields().len())
            .filter(|at| !by.contains(at))
            .collect();
        if rest.is_empty() {
            return Err(StepError::permanent(
                "`partition_by` names every column; at least one must be left for the files",
            ));
        }
        let fields: Vec<_> = rest.iter().map(|at| schema.fields()[*at].clone()).collect();
        Ok(Self {
            by,
            rest,
            rest_schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())),
            open: HashMap::new(),
            pending: HashMap::new(),
            pending_bytes: 0,
            parts: HashMap::new(),
        })
    }

    /// Writes a batch to the files of its partitions. Says how many bytes the files have that were closed for it.
    pub(super) fn write<F: Format>(
        &mut self,
        batch: &RecordBatch,
        files: &mut Files<F>,
    ) -> Result<u64, StepError> {
        let mut closed = 0;
        let columns: Vec<ArrayRef> = self
            .rest
            .iter()
            .map(|at| batch.column(*at).clone())
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rest = RecordBatch::try_new_with_options(self.rest_schema.clone(), columns, &options)
            .map_err(|error| fault::arrow("splitting rows by partition", error))?;
        for (folder, rows) in self.groups(batch)? {
            let part = if rows.len() == batch.num_rows() {
                rest.clone()
            } else {
                take_record_batch(&rest, &UInt32Array::from(rows))
                    .map_err(|error| fault::arrow("splitting rows by partition", error))?
            };
            if let Some(encoder) = self.open.get_mut(&folder) {
                encoder.write(&part)?;
            } else if self.open.len() < MAX_OPEN && !self.pending.contains_key(&folder) {
                let mut encoder = self.begin(&folder, files)?;
                encoder.write(&part)?;
                self.open.insert(folder, encoder);
            } else {
                self.keep(folder, part);
            }
        }
        if self.pending_bytes > MAX_PENDING_BYTES {
            closed += self.write_pending(files, MAX_PENDING_BYTES / 2)?;
        }
        while self.buffered_bytes() > MAX_BUFFERED_BYTES {
            closed += self.close_largest()?;
        }
        Ok(closed)
    }

    /// Writes what is kept, closes all files, and says how many bytes those have.
    pub(super) fn close<F: Format>(mut self, files: &mut Files<F>) -> Result<u64, StepError> {
        let mut bytes = 0;
        for encoder in std::mem::take(&mut self.open).into_values() {
            bytes += encoder.close()?;
        }
        Ok(bytes + self.write_pending(files, 0)?)
    }

    /// A new file of a folder.
    fn begin<F: Format>(
        &mut self,
        folder: &Arc<str>,
        files: &mut Files<F>,
    ) -> Result<Box<dyn Encoder>, StepError> {
        let part = self.parts.entry(folder.clone()).or_default();
        let encoder = files.open(folder, *part, &self.rest_schema)?;
        *part += 1;
        Ok(encoder)
    }

    fn keep(&mut self, folder: Arc<str>, part: RecordBatch) {
        let bytes = part.get_array_memory_size();
        let pending = self.pending.entry(folder).or_default();
        pending.batches.push(part);
        pending.bytes += bytes;
        self.pending_bytes += bytes;
    }

    /// Writes a file for each of the folders of which most is kept, until no more than `rest` bytes are: those free most and make
    /// the best files.
    fn write_pending<F: Format>(
        &mut self,
        files: &mut Files<F>,
        rest: usize,
    ) -> Result<u64, StepError> {
        let mut kept: Vec<_> = self.pending.drain().collect();
        kept.sort_unstable_by_key(|(_, pending)| pending.bytes);
        let mut closed = 0;
        while self.pending_bytes > rest {
            let Some((folder, pending)) = kept.pop() else {
                break;
            };
            self.pending_bytes -= pending.bytes;
            let rows = concat_batches(&self.rest_schema, &pending.batches)
                .map_err(|error| fault::arrow("splitting rows by partition", error))?;
            let mut encoder = self.begin(&folder, files)?;
            encoder.write(&rows)?;
            closed += encoder.close()?;
        }
        self.pending.extend(kept);
        Ok(closed)
    }

    fn buffered_bytes(&self) -> usize {
        self.open
            .values()
            .map(|encoder| encoder.buffered_bytes())
            .sum()
    }

    fn close_largest(&mut self) -> Result<u64, StepError> {
        let largest = self
            .open
            .iter()
            .max_by_key(|(_, encoder)| encoder.buffered_bytes())
            .map(|(folder, _)| folder.clone());
        match largest.and_then(|folder| self.open.remove(&folder)) {
            Some(encoder) => encoder.close(),
            None => Ok(0),
        }
    }

    /// The folders of a batch's rows, in the order in which they come first.
    fn groups(&self, batch: &RecordBatch) -> Result<Vec<Group>, StepError> {
        let failed = |error| fault::arrow("reading a partition column", error);
        let options = FormatOptions::default();
        let columns: Vec<_> = self
            .by
            .iter()
            .map(|at| {
                let column: &dyn Array = batch.column(*at);
                let formatter = ArrayFormatter::try_new(column, &options).map_err(failed)?;
                Ok((
                    batch.schema_ref().field(*at).name().clone(),
                    column,
                    formatter,
                ))
            })
            .collect::<Result<_, StepError>>()?;
        let mut places: HashMap<Arc<str>, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut folder = String::new();
        for row in 0..batch.num_rows() {
            folder.clear();
            for (name, column, formatter) in &columns {
                if !folder.is_empty() {
                    folder.push('/');
                }
                folder.extend(utf8_percent_encode(name, ESCAPED));
                folder.push('=');
                if column.is_null(row) {
                    folder.push_str(PARTITION_NULL);
                } else {
                    let text = formatter.value(row).try_to_string().map_err(failed)?;
                    folder.extend(utf8_percent_encode(&text, ESCAPED));
                }
            }
            let place = match places.get(folder.as_str()) {
                Some(place) => *place,
                None => {
                    let folder: Arc<str> = folder.as_str().into();
                    groups.push((folder.clone(), Vec::new()));
                    places.insert(folder, groups.len() - 1);
                    groups.len() - 1
                }
            };
            groups[place].1.push(row as u32);
        }
        Ok(groups)
    }
}
