//! Apache Parquet.

mod config;
mod sink;
mod source;

pub use config::{ParquetCompression, ParquetSinkConfig, ParquetSourceConfig};
pub(crate) use source::ParquetSource;
