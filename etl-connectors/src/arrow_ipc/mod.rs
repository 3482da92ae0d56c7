//! Arrow IPC: files and streams.

mod config;
mod sink;
mod source;
#[cfg(test)]
mod tests;

pub use config::{ArrowSinkConfig, ArrowSourceConfig};
pub(crate) use source::ArrowSource;
