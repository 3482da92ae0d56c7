//! Writes Arrow IPC files.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::FileWriter;
use etl_core::model::StepError;

use super::config::ArrowSinkConfig;
use crate::file::{Encoder, FileSink, Format};
use crate::flow::fault;
use crate::location::{Compressed, Compression, OutFile};

/// Arrow IPC as a file format.
#[derive(Debug, Clone)]
pub(crate) struct ArrowFormat {
    compression: Compression,
}

impl ArrowSinkConfig {
    /// The sink.
    pub(crate) fn sink(&self) -> FileSink<ArrowFormat> {
        FileSink {
            url: self.url.clone(),
            mode: self.mode,
            partition_by: Vec::new(),
            format: ArrowFormat {
                compression: self.compression,
            },
        }
    }
}

impl Format for ArrowFormat {
    fn extension(&self) -> &'static str {
        ".arrow"
    }

    fn compression(&self) -> Compression {
        self.compression
    }

    fn encoder(
        &self,
        schema: &SchemaRef,
        file: OutFile,
        compression: Compression,
    ) -> Result<Box<dyn Encoder>, StepError> {
        let file = Compressed::new(file, compression)
            .map_err(|error| fault::io("making an Arrow file", error))?;
        let writer = FileWriter::try_new(file, schema)
            .map_err(|error| fault::arrow("making an Arrow file", error))?;
        Ok(Box::new(ArrowWriter { writer }))
    }
}

struct ArrowWriter {
    writer: FileWriter<Compressed>,
}

impl Encoder for ArrowWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), StepError> {
        self.writer
            .write(batch)
            .map_err(|error| fault::arrow("writing Arrow", error))
    }

    fn close(mut self: Box<Self>) -> Result<u64, StepError> {
        self.writer
            .finish()
            .map_err(|error| fault::arrow("completing an Arrow file", error))?;
        self.writer
            .into_inner()
            .map_err(|error| fault::arrow("completing an Arrow file", error))?
            .close()
            .map_err(|error| fault::io("completing an Arrow file", error))
    }
}
