//! NDJSON: one JSON object a line.

mod config;
mod decode;
mod lines;
mod sink;
mod source;
#[cfg(test)]
mod tests;

pub use config::{NdjsonSinkConfig, NdjsonSourceConfig};
pub(crate) use source::NdjsonSource;
