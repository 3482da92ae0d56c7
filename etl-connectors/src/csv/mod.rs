//! CSV: text of records and fields (RFC 4180), as it is found and not only as it should be.

mod chunk;
mod config;
mod decode;
mod encoding;
mod records;
mod sink;
mod source;
#[cfg(test)]
mod tests;

pub use config::{CsvSinkConfig, CsvSourceConfig};
pub(crate) use source::CsvSource;
