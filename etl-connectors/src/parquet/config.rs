//! What documents say of a Parquet source or sink.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::Mode;

/// A Parquet file, or all files of a folder or pattern as one. Hive partition folders (`year=2013/`) come back as columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "report/year=*/*.parquet"}))]
pub struct ParquetSourceConfig {
    /// A path, a `file:` URL or the URI of an artifact; `*`, `?`, `[..]` and `**` match many files, read as one in sorted order.
    pub url: String,
}

/// A Parquet file or folder to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "artifact://report/", "partition_by": ["month"]}))]
pub struct ParquetSinkConfig {
    /// A path, a `file:` URL or `artifact://NAME`; with a slash at its end, or with `partition_by`, a folder of files.
    pub url: String,
    /// What happens to what is there already.
    #[serde(default)]
    pub mode: Mode,
    /// How pages are compressed.
    #[serde(default)]
    pub compression: ParquetCompression,
    /// Columns whose values become folders, Hive style: `month=1/part-0.parquet`.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// The most rows of a row group. A group also ends when it holds 64 MiB.
    #[serde(default = "row_group_rows")]
    #[schemars(range(min = 1))]
    pub row_group_rows: u64,
}

/// How pages of a Parquet file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParquetCompression {
    /// Zstandard: small and fast.
    #[default]
    Zstd,
    /// Snappy: what most readers know.
    Snappy,
    /// gzip.
    Gzip,
    /// LZ4, raw blocks.
    Lz4,
    /// Not at all.
    None,
}

fn row_group_rows() -> u64 {
    1024 * 1024
}
