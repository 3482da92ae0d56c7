//! Reads Parquet files, row group by row group, as one stream of rows.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use async_trait::async_trait;
use bytes::Bytes;
use etl_core::model::{Place, StepError};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use super::config::ParquetSourceConfig;
use crate::column::{ColumnType, TextFormat};
use crate::flow::{Emitter, Flow, Rows, Source, blocking, fault, produce};
use crate::location::{Input, Location, inputs};

const BATCH_ROWS: usize = 8192;

/// Reads Parquet.
#[derive(Debug, Clone)]
pub(crate) struct ParquetSource {
    config: ParquetSourceConfig,
}

impl ParquetSource {
    pub(crate) fn new(config: ParquetSourceConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Source for ParquetSource {
    async fn open(&self, flow: &Flow) -> Result<Rows, StepError> {
        let files = inputs(&self.config.url, flow).await?;
        let head_flow = flow.clone();
        let (files, schema) = blocking("reading the head of a Parquet file", move || {
            let schema = schema_of(&files, &head_flow)?;
            Ok((files, schema))
        })
        .await?;
        let flow = flow.clone();
        Ok(produce(&flow.clone(), schema.clone(), move |emitter| {
            files
                .iter()
                .try_for_each(|file| read(file, &schema, &flow, emitter))
        }))
    }
}

/// The columns of the first file, and one for each partition folder.
fn schema_of(files: &[Input], flow: &Flow) -> Result<SchemaRef, StepError> {
    let Some(first) = files.first() else {
        return Ok(Arc::new(Schema::empty()));
    };
    let opened = builder(first, flow)?;
    // A later file may lack a column, or have nulls in it.
    let nullable = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_nullable(true));
    let mut fields: Vec<Arc<Field>> = opened.schema().fields().iter().map(nullable).collect();
    for (name, _) in &first.partitions {
        if fields.iter().any(|field| field.name() == name) {
            continue;
        }
        let values = || {
            files
                .iter()
                .flat_map(|file| &file.partitions)
                .filter(|(key, _)| key == name)
                .filter_map(|(_, value)| value.as_deref())
        };
        // `007` is no number: it would not come back as it was.
        let is_whole =
            |text: &str| TextFormat::int64(text).is_some_and(|number| number.to_string() == text);
        let column_type = if values().next().is_some() && values().all(is_whole) {
            ColumnType::Int64
        } else {
            ColumnType::String
        };
        fields.push(Arc::new(column_type.field(name)));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn read(file: &Input, schema: &SchemaRef, flow: &Flow, emitter: &Emitter) -> Result<(), StepError> {
    let opened = builder(file, flow)?;
    let known = |name: &str| schema.column_with_name(name).is_some();
    let fields = opened.schema().fields().iter().map(|field| field.name());
    let folders = file.partitions.iter().map(|(name, _)| name);
    if let Some(extra) = fields.chain(folders).find(|name| !known(name)) {
        return Err(StepError::permanent(format!(
            "the files do not have the same columns: this one also has {extra:?}"
        ))
        .at(place(file)));
    }
    let groups = opened.metadata().num_row_groups() as u64;
    let rows: u64 = opened.metadata().file_metadata().num_rows().max(0) as u64;
    let what = format!("reading {}", file.name);
    let mut reader: ParquetRecordBatchReader = fault::guarded(&what, || {
        opened
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| damaged(&what, error))
    })
    .map_err(|error| error.at(place(file)))?;
    tracing::debug!(groups, rows, "reading a Parquet file");
    // Where the reader jumps to says little of how far it is; rows of the known total say it.
    let (mut seen, mut counted) = (0_u64, 0_u64);
    while let Some(batch) = fault::guarded(&what, || {
        let batch = reader.next().transpose();
        batch.map_err(|error| fault::arrow(&what, error))
    })
    .map_err(|error| error.at(place(file)))?
    {
        seen += batch.num_rows() as u64;
        let bytes = file.size.saturating_mul(seen) / rows.max(1);
        flow.meter.add_bytes(bytes.saturating_sub(counted));
        counted = bytes.max(counted);
        flow.meter.add_rows(batch.num_rows() as u64);
        emitter.emit(fit(&batch, file, schema)?)?;
    }
    flow.meter.add_bytes(file.size.saturating_sub(counted));
    Ok(())
}

/// The batch with exactly the columns of the source: by name, missing ones null, partition columns from the folders.
fn fit(batch: &RecordBatch, file: &Input, schema: &SchemaRef) -> Result<RecordBatch, StepError> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| {
            if let Some(column) = batch.column_by_name(field.name()) {
                if column.data_type() == field.data_type() {
                    return Ok(column.clone());
                }
                return exact_cast(column, field.data_type()).map_err(|error| {
                    StepError::permanent(format!(
                        "the column is {} here and {} in the first file, and not every value is both",
                        column.data_type(),
                        field.data_type()
                    ))
                    .at(Place {
                        column: Some(field.name().clone()),
                        ..place(file)
                    })
                    .because(error)
                });
            }
            let value = file
                .partitions
                .iter()
                .find(|(key, _)| key == field.name())
                .and_then(|(_, value)| value.as_deref());
            Ok(constant(value, field.data_type(), batch.num_rows()))
        })
        .collect::<Result<_, StepError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| fault::arrow(format!("reading {}", file.name), error).at(place(file)))
}

/// The column as another type, if every value survives that and the way back.
fn exact_cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let there = cast_with_options(column, to, &strict)?;
    let back = cast_with_options(&there, column.data_type(), &strict)?;
    if back.as_ref() == column.as_ref() {
        Ok(there)
    } else {
        Err(ArrowError::CastError("a value would change".into()))
    }
}

/// A partition's value in every row; null if there is none or it is not of the type.
fn constant(value: Option<&str>, data_type: &DataType, rows: usize) -> ArrayRef {
    use arrow::array::{Int64Array, StringArray};
    match (value, data_type) {
        (Some(text), DataType::Int64) => match TextFormat::int64(text) {
            Some(number) => Arc::new(Int64Array::from_value(number, rows)),
            None => new_null_array(data_type, rows),
        },
        (Some(text), DataType::Utf8) => {
            Arc::new(std::iter::repeat_n(Some(text), rows).collect::<StringArray>())
        }
        _ => new_null_array(data_type, rows),
    }
}

fn place(file: &Input) -> Place {
    Place {
        file: Some(file.name.to_string()),
        ..Place::default()
    }
}

fn builder(
    file: &Input,
    flow: &Flow,
) -> Result<ParquetRecordBatchReaderBuilder<Chunks>, StepError> {
    let what = format!("reading {}", file.name);
    let content = match &file.place {
        Location::Local(path) => {
            Content::Local(File::open(path).map_err(|error| fault::io(&what, error))?)
        }
        Location::Object(store, path) => {
            Content::Object(store.clone(), path.clone(), Handle::current())
        }
    };
    let chunks = Chunks {
        content,
        size: file.size,
        flow: flow.clone(),
    };
    fault::guarded(&what, || {
        ParquetRecordBatchReaderBuilder::try_new(chunks).map_err(|error| damaged(&what, error))
    })
    .map_err(|error| error.at(place(file)))
}

/// A file that can't be read. The I/O error inside decides the class, if there is one.
fn damaged(what: &str, error: ParquetError) -> StepError {
    match error {
        ParquetError::External(source) => fault::external(what, source),
        other => StepError::permanent(format!("{what} failed: it is damaged or no Parquet"))
            .because(other),
    }
}

/// Random access to a file here or in an object store, for a thread that may block.
struct Chunks {
    content: Content,
    size: u64,
    flow: Flow,
}

enum Content {
    Local(File),
    Object(Arc<dyn ObjectStore>, Path, Handle),
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        match &self.content {
            Content::Local(file) => Ok(Box::new(file.get_read(start)?)),
            // Page headers of files without an index are read this way: a piece is enough at a time.
            Content::Object(store, path, handle) => Ok(Box::new(Pieces {
                store: store.clone(),
                path: path.clone(),
                handle: handle.clone(),
                piece: Bytes::new(),
                rest: start..self.size,
            })),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.flow
            .check()
            .map_err(|error| ParquetError::External(Box::new(error)))?;
        // The library takes memory for what a damaged file claims before it finds that the file is shorter.
        let end = start
            .checked_add(length as u64)
            .filter(|end| *end <= self.size)
            .ok_or_else(|| {
                ParquetError::EOF(format!(
                    "{length} bytes at {start} are asked for, and the file has {}",
                    self.size
                ))
            })?;
        match &self.content {
            Content::Local(file) => file.get_bytes(start, length),
            Content::Object(store, path, handle) => handle
                .block_on(store.get_range(path, start..end))
                .map_err(|error| ParquetError::External(Box::new(io::Error::from(error)))),
        }
    }
}

/// How much of an object is fetched at a time where it is read on and on.
const PIECE_BYTES: u64 = 64 * 1024;

/// Reads an object in pieces, as they are asked for.
struct Pieces {
    store: Arc<dyn ObjectStore>,
    path: Path,
    handle: Handle,
    piece: Bytes,
    rest: Range<u64>,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && !self.rest.is_empty() {
            let end = self.rest.end.min(self.rest.start + PIECE_BYTES);
            self.piece = self
                .handle
                .block_on(self.store.get_range(&self.path, self.rest.start..end))?;
            self.rest.start = end;
        }
        let length = self.piece.len().min(into.len());
        into[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}
