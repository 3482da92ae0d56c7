//! Reads Parquet files, row group by row group, as one stream of rows.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
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
use super::sink::failed;
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
    let mut fields: Vec<Arc<Field>> = opened.schema().fields().iter().cloned().collect();
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
        let is_whole = |text: &str| TextFormat::int64(text).is_some();
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
    if let Some(extra) = opened.schema().fields().iter().find(|f| !known(f.name())) {
        return Err(StepError::permanent(format!(
            "the files do not have the same columns: this one also has {:?}",
            extra.name()
        ))
        .at(place(file)));
    }
    let groups = opened.metadata().num_row_groups() as u64;
    let rows: u64 = opened.metadata().file_metadata().num_rows().max(0) as u64;
    let reader: ParquetRecordBatchReader = opened
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error| failed(format!("reading {}", file.name), error).at(place(file)))?;
    tracing::debug!(groups, rows, "reading a Parquet file");
    // Where the reader jumps to says little of how far it is; rows of the known total say it.
    let (mut seen, mut counted) = (0_u64, 0_u64);
    for batch in reader {
        let batch = batch.map_err(|error| {
            fault::arrow(format!("reading {}", file.name), error).at(place(file))
        })?;
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
                return cast(column, field.data_type()).map_err(|error| {
                    StepError::permanent(format!(
                        "the column is {} here and {} in the first file",
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
    let what = || format!("reading {}", file.name);
    let content = match &file.place {
        Location::Local(path) => {
            Content::Local(File::open(path).map_err(|error| fault::io(what(), error))?)
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
    ParquetRecordBatchReaderBuilder::try_new(chunks)
        .map_err(|error| failed(what(), error).at(place(file)))
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
            Content::Object(..) => {
                // Only page headers of files without an index are read this way: a piece is enough at a time.
                let length = self.size.saturating_sub(start);
                Ok(Box::new(Cursor::new(
                    self.get_bytes(start, length as usize)?,
                )))
            }
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.flow
            .check()
            .map_err(|error| ParquetError::External(Box::new(error)))?;
        match &self.content {
            Content::Local(file) => file.get_bytes(start, length),
            Content::Object(store, path, handle) => handle
                .block_on(store.get_range(path, start..start + length as u64))
                .map_err(|error| ParquetError::External(Box::new(io::Error::from(error)))),
        }
    }
}
