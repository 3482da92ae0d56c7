//! What all file sinks share: staging, splitting by partition, publishing. A format only turns batches into bytes.

mod partition;

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use etl_core::model::{EffectClass, StepError};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::flow::{Flow, Loaded, Rows, Sink, Staged, blocking, fault};
use crate::location::{Compression, Mode, OutFile, Staging, Target};
use partition::Partitioned;

/// How many batches may wait for the thread that encodes.
const BATCHES_AHEAD: usize = 2;

/// A file format that can be written.
pub(crate) trait Format: Clone + fmt::Debug + Send + Sync + 'static {
    /// What files of it end with, with the dot, such as `.csv`.
    fn extension(&self) -> &'static str;

    /// How the file as a whole is compressed, if its name does not say so.
    fn compression(&self) -> Compression {
        Compression::None
    }

    /// Writes batches of `schema` to `file`, which is compressed by `compression`.
    ///
    /// # Errors
    /// If a column can't be written in this format, or writing fails.
    fn encoder(
        &self,
        schema: &SchemaRef,
        file: OutFile,
        compression: Compression,
    ) -> Result<Box<dyn Encoder>, StepError>;
}

/// Writes the batches of one file.
pub(crate) trait Encoder: Send {
    /// Writes a batch.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), StepError>;

    /// How many bytes it holds in memory.
    fn buffered_bytes(&self) -> usize {
        0
    }

    /// Completes the file and says how many bytes it has.
    fn close(self: Box<Self>) -> Result<u64, StepError>;
}

/// Writes rows to a file, or a folder of files, of one format.
#[derive(Debug, Clone)]
pub(crate) struct FileSink<F> {
    pub(crate) url: String,
    pub(crate) mode: Mode,
    pub(crate) partition_by: Vec<String>,
    pub(crate) format: F,
}

#[async_trait]
impl<F: Format> Sink for FileSink<F> {
    fn effects(&self) -> EffectClass {
        EffectClass::Staged
    }

    async fn stage(&self, rows: Rows, flow: &Flow) -> Result<Box<dyn Staged>, StepError> {
        let Rows {
            schema,
            mut batches,
        } = rows;
        let target = Target::new(
            &self.url,
            self.mode,
            !self.partition_by.is_empty(),
            &flow.ctx,
        )?;
        let (sender, mut receiver) = mpsc::channel::<RecordBatch>(BATCHES_AHEAD);
        let sink = self.clone();
        let thread_flow = flow.clone();
        let writer = tokio::task::spawn_blocking(move || {
            let mut writer = sink.begin(target, schema)?;
            while let Some(batch) = receiver.blocking_recv() {
                thread_flow.check()?;
                writer.write(&batch)?;
            }
            Ok(writer)
        });
        let mut outcome = Ok(());
        while let Some(batch) = batches.next().await {
            match batch {
                Ok(batch) => {
                    // Sending fails when the thread has failed: its own error says why.
                    if sender.send(batch).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        drop(sender);
        let writer: Result<Writer<F>, StepError> = writer
            .await
            .map_err(|error| fault::panicked("writing", error))?;
        outcome?;
        let writer = writer?;
        let finished = blocking("completing the output", move || writer.finish()).await?;
        Ok(Box::new(finished))
    }
}

impl<F: Format> FileSink<F> {
    fn begin(&self, target: Target, schema: SchemaRef) -> Result<Writer<F>, StepError> {
        let compression = match target.file_name() {
            Some(name) => self.format.compression().of(&name),
            None => self.format.compression(),
        };
        let extension = format!("{}{}", self.format.extension(), compression.extension());
        let staging = target.stage(&extension)?;
        let files = Files {
            format: self.format.clone(),
            compression,
            staging,
        };
        let output = if self.partition_by.is_empty() {
            Output::One(None)
        } else {
            Output::Many(Partitioned::new(&schema, &self.partition_by)?)
        };
        let mut writer = Writer {
            files,
            output,
            schema,
            rows: 0,
            bytes: 0,
        };
        // A single file exists even without a row: an empty result is a result. So it is made at once.
        if matches!(writer.output, Output::One(_)) {
            let encoder = writer.files.open("", 0, &writer.schema)?;
            writer.output = Output::One(Some(encoder));
        }
        Ok(writer)
    }
}

/// Makes the files of an output.
struct Files<F> {
    format: F,
    compression: Compression,
    staging: Staging,
}

impl<F: Format> Files<F> {
    fn open(
        &mut self,
        below: &str,
        part: usize,
        schema: &SchemaRef,
    ) -> Result<Box<dyn Encoder>, StepError> {
        let file = self.staging.create(below, part)?;
        self.format.encoder(schema, file, self.compression)
    }
}

struct Writer<F> {
    files: Files<F>,
    output: Output,
    schema: SchemaRef,
    rows: u64,
    bytes: u64,
}

enum Output {
    One(Option<Box<dyn Encoder>>),
    Many(Partitioned),
}

impl<F: Format> Writer<F> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), StepError> {
        self.rows += batch.num_rows() as u64;
        match &mut self.output {
            Output::One(Some(encoder)) => encoder.write(batch),
            Output::One(None) => Ok(()),
            Output::Many(partitions) => {
                self.bytes += partitions.write(batch, &mut self.files)?;
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Result<Finished, StepError> {
        let rest = match self.output {
            Output::One(Some(encoder)) => encoder.close()?,
            Output::One(None) => 0,
            Output::Many(partitions) => partitions.close(&mut self.files)?,
        };
        Ok(Finished {
            staging: self.files.staging,
            rows: self.rows,
            bytes: self.bytes + rest,
        })
    }
}

/// Complete files that nobody sees yet.
struct Finished {
    staging: Staging,
    rows: u64,
    bytes: u64,
}

#[async_trait]
impl Staged for Finished {
    async fn publish(self: Box<Self>, flow: &Flow) -> Result<Loaded, StepError> {
        flow.check()?;
        let artifact = self.staging.artifact();
        let staging = self.staging;
        let files = blocking("publishing the output", move || staging.publish()).await?;
        if let Some(name) = artifact {
            flow.ctx.publish(name).await;
        }
        Ok(Loaded {
            rows: self.rows,
            bytes: self.bytes,
            files,
        })
    }
}
