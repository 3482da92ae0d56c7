//! Writes NDJSON.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{LineDelimited, Writer};
use etl_core::model::StepError;

use super::config::NdjsonSinkConfig;
use crate::file::{Encoder, FileSink, Format};
use crate::flow::fault;
use crate::json::json_rows;
use crate::location::{Compressed, Compression, OutFile};

/// NDJSON as a file format.
#[derive(Debug, Clone)]
pub(crate) struct NdjsonFormat {
    compression: Compression,
}

impl NdjsonSinkConfig {
    /// The sink.
    pub(crate) fn sink(&self) -> FileSink<NdjsonFormat> {
        FileSink {
            url: self.url.clone(),
            mode: self.mode,
            partition_by: Vec::new(),
            format: NdjsonFormat {
                compression: self.compression,
            },
        }
    }
}

impl Format for NdjsonFormat {
    fn extension(&self) -> &'static str {
        ".ndjson"
    }

    fn compression(&self) -> Compression {
        self.compression
    }

    fn encoder(
        &self,
        _: &SchemaRef,
        file: OutFile,
        compression: Compression,
    ) -> Result<Box<dyn Encoder>, StepError> {
        let file = Compressed::new(file, compression)
            .map_err(|error| fault::io("making an NDJSON file", error))?;
        Ok(Box::new(NdjsonWriter {
            writer: json_rows(file),
        }))
    }
}

struct NdjsonWriter {
    writer: Writer<Compressed, LineDelimited>,
}

impl Encoder for NdjsonWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), StepError> {
        self.writer
            .write(batch)
            .map_err(|error| fault::arrow("writing NDJSON", error))
    }

    fn close(mut self: Box<Self>) -> Result<u64, StepError> {
        self.writer
            .finish()
            .map_err(|error| fault::arrow("completing an NDJSON file", error))?;
        self.writer
            .into_inner()
            .close()
            .map_err(|error| fault::io("completing an NDJSON file", error))
    }
}
