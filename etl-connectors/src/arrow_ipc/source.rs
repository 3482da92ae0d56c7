//! Reads Arrow IPC files and streams as one stream of rows.

use std::io::{BufReader, Read};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use etl_core::model::{Place, StepError};

use super::config::ArrowSourceConfig;
use super::messages::Messages;
use crate::flow::{Emitter, Flow, Rows, Source, blocking, fault, produce};
use crate::location::{Compression, Input, inputs};

const BUFFER_BYTES: usize = 256 * 1024;

/// Reads Arrow IPC.
#[derive(Debug, Clone)]
pub(crate) struct ArrowSource {
    config: ArrowSourceConfig,
}

impl ArrowSource {
    pub(crate) fn new(config: ArrowSourceConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Source for ArrowSource {
    async fn open(&self, flow: &Flow) -> Result<Rows, StepError> {
        let files = inputs(&self.config.url, flow).await?;
        let compression = self.config.compression;
        let head_flow = flow.clone();
        let (files, schema) = blocking("reading the head of an Arrow file", move || {
            let first = files
                .first()
                .ok_or_else(|| StepError::permanent("there is no file to read"))?;
            // The head is read twice; only the second time counts.
            let head = open(first, compression, &head_flow.again())?;
            let schema = head.schema().clone();
            Ok((files, schema))
        })
        .await?;
        let reading = flow.clone();
        Ok(produce(flow, schema.clone(), move |emitter| {
            for file in &files {
                let messages = open(file, compression, &reading)?;
                if messages.schema().fields() != schema.fields() {
                    return Err(StepError::permanent(
                        "the files do not have the same columns: this one differs from the first",
                    )
                    .at(place(file)));
                }
                read(file, messages, &schema, &reading, emitter)?;
            }
            Ok(())
        }))
    }
}

type Content = BufReader<Box<dyn Read + Send>>;

fn open(
    file: &Input,
    compression: Compression,
    flow: &Flow,
) -> Result<Messages<Content>, StepError> {
    let content = file.read(flow, compression)?;
    let what = format!("reading {} as Arrow IPC", file.name);
    fault::guarded(&what, || {
        Messages::open(BufReader::with_capacity(BUFFER_BYTES, content))
            .map_err(|error| fault::arrow(&what, error))
    })
    .map_err(|error| error.at(place(file)))
}

fn read(
    file: &Input,
    mut messages: Messages<Content>,
    schema: &SchemaRef,
    flow: &Flow,
    emitter: &Emitter,
) -> Result<(), StepError> {
    let what = format!("reading {} as Arrow IPC", file.name);
    loop {
        let batch = fault::guarded(&what, || {
            messages.next().map_err(|error| fault::arrow(&what, error))
        })
        .map_err(|error| error.at(place(file)))?;
        let Some(batch) = batch else {
            return Ok(());
        };
        // The metadata of the schema may differ between files.
        let batch = batch
            .with_schema(schema.clone())
            .map_err(|error| fault::arrow(&what, error).at(place(file)))?;
        flow.meter.add_rows(batch.num_rows() as u64);
        emitter.emit(batch)?;
    }
}

fn place(file: &Input) -> Place {
    Place {
        file: Some(file.name.to_string()),
        ..Place::default()
    }
}
