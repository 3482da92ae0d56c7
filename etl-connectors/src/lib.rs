//! The built-in connectors: steps, sources and sinks on Apache Arrow.
//!
//! A *step* is what a document names as `connector_type`; `copy`, `sql` and `assert` read *sources* and write *sinks*, which
//! meet in a stream of Arrow record batches, so that every source combines with every sink. Each kind is a folder and a cargo
//! feature: a new one is a folder of its own, one `mod` line here and its lines in [`SourceConfig`] and [`SinkConfig`].

#[cfg(not(any(
    feature = "arrow",
    feature = "csv",
    feature = "ndjson",
    feature = "parquet",
    feature = "sqlite"
)))]
compile_error!(
    "etl-connectors needs a kind of source: one of the features arrow, csv, ndjson, parquet, sqlite"
);

#[cfg(feature = "arrow")]
mod arrow_ipc;
mod column;
#[cfg(feature = "csv")]
mod csv;
mod endpoint;
mod file;
pub mod flow;
#[cfg(feature = "sqlite")]
mod ident;
mod json;
mod location;
#[cfg(feature = "ndjson")]
mod ndjson;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "sql")]
mod query;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod steps;

use etl_core::registry::Registry;

#[cfg(feature = "arrow")]
pub use arrow_ipc::{ArrowSinkConfig, ArrowSourceConfig};
pub use column::{BadColumnType, ColumnType, Columns};
#[cfg(feature = "csv")]
pub use csv::{CsvSinkConfig, CsvSourceConfig};
pub use endpoint::{InputConfig, SinkConfig, SourceConfig};
pub use location::{Compression, Mode};
#[cfg(feature = "ndjson")]
pub use ndjson::{NdjsonSinkConfig, NdjsonSourceConfig};
#[cfg(feature = "parquet")]
pub use parquet::{ParquetCompression, ParquetSinkConfig, ParquetSourceConfig};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteMode, SqliteSinkConfig, SqliteSourceConfig};

/// Every connector that this build has.
pub fn builtin() -> Registry {
    let mut registry = Registry::new();
    #[cfg(feature = "sql")]
    {
        registry.insert(steps::Assert);
        registry.insert(steps::Copy);
        registry.insert(steps::Sql);
    }
    #[cfg(feature = "command")]
    registry.insert(steps::Command);
    #[cfg(feature = "fail")]
    registry.insert(steps::Fail);
    #[cfg(feature = "sleep")]
    registry.insert(steps::Sleep);
    registry
}
