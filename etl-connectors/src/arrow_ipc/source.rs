//! Reads Arrow IPC files and streams as one stream of rows.

use std::io::{BufReader, Chain, Cursor, Read};

use arrow::ipc::reader::StreamReader;
use async_trait::async_trait;
use etl_core::model::{Place, StepError};

use super::config::ArrowSourceConfig;
use crate::flow::{Flow, Rows, Source, blocking, fault, produce};
use crate::location::{Input, decompressed, inputs};

/// What a file begins with. After it and two bytes of padding comes the same as in a stream, so both are read as streams and a
/// compressed file needs no seeking.
const FILE_MAGIC: &[u8; 6] = b"ARROW1";
const FILE_HEAD_BYTES: usize = 8;

type Reader = StreamReader<BufReader<Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>>>;

/// Reads Arrow IPC.
#[derive(Debug, Clone)]
pub(crate) struct ArrowSource {
    config: ArrowSourceConfig,
}

impl ArrowSource {
    pub(crate) fn new(config: ArrowSourceConfig) -> Self {
        Self { config }
    }

    fn open_file(&self, file: &Input, flow: &Flow) -> Result<Reader, StepError> {
        let mut content = decompressed(file.read(flow)?, self.config.compression.of(&file.name))
            .map_err(|error| file.failed(error))?;
        let mut head = Vec::with_capacity(FILE_HEAD_BYTES);
        (&mut content)
            .take(FILE_HEAD_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(|error| file.failed(error))?;
        if head.starts_with(FILE_MAGIC) {
            head.clear();
        }
        let content = BufReader::with_capacity(256 * 1024, Cursor::new(head).chain(content));
        StreamReader::try_new(content, None).map_err(|error| {
            fault::arrow(format!("reading {} as Arrow IPC", file.name), error).at(place(file))
        })
    }
}

#[async_trait]
impl Source for ArrowSource {
    async fn open(&self, flow: &Flow) -> Result<Rows, StepError> {
        let files = inputs(&self.config.url, flow).await?;
        let source = self.clone();
        let head_flow = flow.clone();
        let (files, schema) = blocking("reading the head of an Arrow file", move || {
            let first = files
                .first()
                .ok_or_else(|| StepError::permanent("there is no file to read"))?;
            // The head is read twice; only the second time counts.
            let schema = source.open_file(first, &head_flow.again())?.schema();
            Ok((files, schema))
        })
        .await?;
        let source = self.clone();
        let reading = flow.clone();
        Ok(produce(flow, schema.clone(), move |emitter| {
            for file in &files {
                let reader = source.open_file(file, &reading)?;
                if reader.schema().fields() != schema.fields() {
                    return Err(StepError::permanent(
                        "the files do not have the same columns: this one differs from the first",
                    )
                    .at(place(file)));
                }
                for batch in reader {
                    let batch = batch.map_err(|error| {
                        fault::arrow(format!("reading {}", file.name), error).at(place(file))
                    })?;
                    let batch = batch.with_schema(schema.clone()).map_err(|error| {
                        fault::arrow(format!("reading {}", file.name), error).at(place(file))
                    })?;
                    reading.meter.add_rows(batch.num_rows() as u64);
                    emitter.emit(batch)?;
                }
            }
            Ok(())
        }))
    }
}

fn place(file: &Input) -> Place {
    Place {
        file: Some(file.name.to_string()),
        ..Place::default()
    }
}
