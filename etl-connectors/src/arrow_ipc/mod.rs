//! Arrow IPC: files and streams.

mod config;
mod messages;
mod sink;
mod source;

pub use config::{ArrowSinkConfig, ArrowSourceConfig};
pub(crate) use source::ArrowSource;
