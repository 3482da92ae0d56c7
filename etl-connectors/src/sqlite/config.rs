//! What documents say of an SQLite source or sink.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::flow::{OnBadRecord, QuarantineLimit};

/// A table of an SQLite database, or the rows of a query on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "sqlite:shop.db", "query": "SELECT id, total FROM orders WHERE paid"}))]
pub struct SqliteSourceConfig {
    /// The database: `sqlite:PATH`. It is opened for reading only.
    pub url: String,
    /// The table to read. Either this or `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The query to run, in SQLite's SQL: one statement. Either this or `table`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What to do with a row that holds a value of another type than its column.
    #[serde(default)]
    pub on_bad_record: OnBadRecord,
    /// How many bad records may be set aside under `on_bad_record: quarantine`; one more fails the step.
    #[serde(default)]
    pub max_quarantined: u64,
}

/// A table of an SQLite database to write. The table is made from the rows' columns if it is missing; decimals and JSON are kept
/// as text there, in columns declared as `DECIMAL_TEXT` and `JSON_TEXT`, and NaN becomes null, which SQLite has in its place. All
/// rows become visible in one transaction, and a repeated attempt never loads them twice: the table `_etl_loads` beside it
/// remembers what was loaded for 400 days. While another program has the database locked, the step waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "sqlite:shop.db", "table": "orders", "mode": "upsert", "key": ["id"]}))]
pub struct SqliteSinkConfig {
    /// The database: `sqlite:PATH`. It is made if it is missing.
    pub url: String,
    /// The table to write.
    pub table: String,
    /// What happens to the rows that are there already.
    #[serde(default)]
    pub mode: SqliteMode,
    /// The columns that identify a row, for `mode: upsert`. An existing table needs a unique index on exactly these.
    #[serde(default)]
    pub key: Vec<String>,
}

/// What happens to the rows of a table that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SqliteMode {
    /// They stay; new rows come beside them.
    #[default]
    Append,
    /// They go: the table becomes exactly the new rows. Its indexes and constraints stay if it has just the columns of the rows,
    /// of types that keep their values as they are; else the table is made anew.
    Replace,
    /// A row with the same `key` is overwritten, others stay.
    Upsert,
}

impl SqliteSourceConfig {
    /// What the schema can't say about it, as (key, message).
    pub(crate) fn faults(&self) -> Vec<(&'static str, String)> {
        match (&self.table, &self.query) {
            (Some(_), Some(_)) => {
                vec![("query", "give either `table` or `query`, not both".into())]
            }
            (None, None) => vec![("table", "give a `table` or a `query`".into())],
            _ => Vec::new(),
        }
    }

    /// What to do with bad records.
    pub(super) const fn limit(&self) -> QuarantineLimit {
        QuarantineLimit {
            on_bad_record: self.on_bad_record,
            max_quarantined: self.max_quarantined,
        }
    }
}

impl SqliteSinkConfig {
    /// What the schema can't say about it, as (key, message).
    pub(crate) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        match (self.mode, self.key.is_empty()) {
            (SqliteMode::Upsert, true) => {
                faults.push((
                    "key",
                    "`mode: upsert` needs the columns that identify a row".into(),
                ));
            }
            (SqliteMode::Append | SqliteMode::Replace, false) => {
                faults.push(("key", "only `mode: upsert` takes a key".into()));
            }
            _ => {}
        }
        if self.table.to_ascii_lowercase().starts_with("_etl_")
            || self.table.to_ascii_lowercase().starts_with("sqlite_")
        {
            faults.push((
                "table",
                "names that begin with `_etl_` or `sqlite_` are reserved".into(),
            ));
        }
        faults
    }
}
