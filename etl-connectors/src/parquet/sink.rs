//! Writes Parquet.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use etl_core::model::StepError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::config::{ParquetCompression, ParquetSinkConfig};
use crate::file::{Encoder, FileSink, Format};
use crate::flow::fault;
use crate::location::{Compressed, Compression, OutFile};

/// How much a row group may hold in memory before it ends.
const MAX_GROUP_BYTES: usize = 64 * 1024 * 1024;

/// Parquet as a file format.
#[derive(Debug, Clone)]
pub(crate) struct ParquetFormat {
    codec: Codec,
    group_rows: usize,
}

impl ParquetSinkConfig {
    /// The sink.
    pub(crate) fn sink(&self) -> FileSink<ParquetFormat> {
        let codec = match self.compression {
            ParquetCompression::Zstd => Codec::ZSTD(ZstdLevel::default()),
            ParquetCompression::Snappy => Codec::SNAPPY,
            ParquetCompression::Gzip => Codec::GZIP(GzipLevel::default()),
            ParquetCompression::Lz4 => Codec::LZ4_RAW,
            ParquetCompression::None => Codec::UNCOMPRESSED,
        };
        FileSink {
            url: self.url.clone(),
            mode: self.mode,
            partition_by: self.partition_by.clone(),
            format: ParquetFormat {
                codec,
                group_rows: self.row_group_rows.max(1) as usize,
            },
        }
    }
}

impl Format for ParquetFormat {
    fn extension(&self) -> &'static str {
        ".parquet"
    }

    fn encoder(
        &self,
        schema: &SchemaRef,
        file: OutFile,
        _: Compression,
    ) -> Result<Box<dyn Encoder>, StepError> {
        let properties = WriterProperties::builder()
            .set_compression(self.codec)
            .set_max_row_group_row_count(Some(self.group_rows))
            .build();
        let file = Compressed::new(file, Compression::None)
            .map_err(|error| fault::io("making a Parquet file", error))?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))
            .map_err(|error| failed("making a Parquet file", error))?;
        Ok(Box::new(ParquetWriter { writer }))
    }
}

struct ParquetWriter {
    writer: ArrowWriter<Compressed>,
}

impl Encoder for ParquetWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), StepError> {
        self.writer
            .write(batch)
            .and_then(|()| {
                if self.writer.memory_size() > MAX_GROUP_BYTES {
                    self.writer.flush()
                } else {
                    Ok(())
                }
            })
            .map_err(|error| failed("writing Parquet", error))
    }

    fn buffered_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    fn close(self: Box<Self>) -> Result<u64, StepError> {
        self.writer
            .into_inner()
            .map_err(|error| failed("completing a Parquet file", error))?
            .close()
            .map_err(|error| fault::io("completing a Parquet file", error))
    }
}

/// A failed Parquet operation. The I/O error inside decides the class, if there is one.
fn failed(what: impl Into<String>, error: ParquetError) -> StepError {
    match error {
        ParquetError::External(source) => fault::external(what, source),
        other => StepError::permanent(format!("{} failed", what.into())).because(other),
    }
}
