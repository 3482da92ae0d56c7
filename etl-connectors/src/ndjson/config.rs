//! What documents say of an NDJSON source or sink.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::Columns;
use crate::flow::{OnBadRecord, QuarantineLimit};
use crate::location::{Compression, Mode};

/// A file of one JSON object a line (NDJSON, JSON Lines), or all files of a folder or pattern as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "events/*.ndjson.gz", "schema": {"at": "timestamp_tz"}}))]
pub struct NdjsonSourceConfig {
    /// A path, a `file:` URL or the URI of an artifact; `*`, `?`, `[..]` and `**` match many files, read as one in sorted order.
    pub url: String,
    /// Types by key. Keys that it does not name get the type of their values in the first 10,000 rows (objects and lists become
    /// `json`); a later row with another type or a new key is a bad record.
    #[serde(default, skip_serializing_if = "Columns::is_empty")]
    pub schema: Columns,
    /// How the file is compressed.
    #[serde(default)]
    pub compression: Compression,
    /// What to do with a record that can't be read.
    #[serde(default)]
    pub on_bad_record: OnBadRecord,
    /// How many bad records may be set aside under `on_bad_record: quarantine`; one more fails the step.
    #[serde(default)]
    pub max_quarantined: u64,
}

/// A file or folder of one JSON object a line to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "artifact://events.ndjson.zst"}))]
pub struct NdjsonSinkConfig {
    /// A path, a `file:` URL or `artifact://NAME`; with a slash at its end a folder of files.
    pub url: String,
    /// What happens to what is there already.
    #[serde(default)]
    pub mode: Mode,
    /// How the file is compressed.
    #[serde(default)]
    pub compression: Compression,
}

impl NdjsonSourceConfig {
    /// A source with every default.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: Columns::new(),
            compression: Compression::Auto,
            on_bad_record: OnBadRecord::Fail,
            max_quarantined: 0,
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
