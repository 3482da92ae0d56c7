//! The built-in connectors: steps, sources and sinks on Apache Arrow.
//!
//! A *step* is what a document names as `connector_type`; `copy`, `sql` and `assert` read *sources* and write *sinks*, which
//! meet in a stream of Arrow record batches, so that every source combines with every sink. Each kind is a folder and a cargo
//! feature: a new one is a folder of its own, one `mod` line here and its lines in [`SourceConfig`] and [`SinkConfig`].

mod column;
#[cfg(feature = "csv")]
mod csv;
mod endpoint;
mod file;
pub mod flow;
mod location;
#[cfg(feature = "parquet")]
mod parquet;
pub mod steps;

use etl_core::registry::Registry;

pub use column::{BadColumnType, ColumnType, Columns};
#[cfg(feature = "csv")]
pub use csv::{CsvSinkConfig, CsvSourceConfig};
pub use endpoint::{SinkConfig, SourceConfig};
pub use location::{Compression, Mode};
#[cfg(feature = "parquet")]
pub use parquet::{ParquetCompression, ParquetSinkConfig, ParquetSourceConfig};

/// Every connector that this build has.
pub fn builtin() -> Registry {
    let mut registry = Registry::new();
    #[cfg(feature = "sql")]
    registry.insert(steps::Copy);
    #[cfg(feature = "command")]
    registry.insert(steps::Command);
    #[cfg(feature = "fail")]
    registry.insert(steps::Fail);
    #[cfg(feature = "sleep")]
    registry.insert(steps::Sleep);
    registry
}
