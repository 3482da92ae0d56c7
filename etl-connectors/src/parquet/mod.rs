//! Apache Parquet.

mod config;
mod sink;
mod source;
#[cfg(test)]
mod tests;

pub use config::{ParquetCompression, ParquetSinkConfig, ParquetSourceConfig};
pub(crate) use source::ParquetSource;
