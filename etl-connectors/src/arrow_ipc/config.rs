//! What documents say of an Arrow source or sink.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::location::{Compression, Mode};

/// An Arrow IPC file or stream (also known as Feather version 2), or all files of a folder or pattern as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "flights.arrow"}))]
pub struct ArrowSourceConfig {
    /// A path, a `file:` URL or the URI of an artifact; `*`, `?`, `[..]` and `**` match many files, read as one in sorted order.
    pub url: String,
    /// How the file as a whole is compressed. Compressed buffers inside of it are read in any case.
    #[serde(default)]
    pub compression: Compression,
}

/// An Arrow IPC file or folder to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "artifact://flights.arrow"}))]
pub struct ArrowSinkConfig {
    /// A path, a `file:` URL or `artifact://NAME`; with a slash at its end a folder of files.
    pub url: String,
    /// What happens to what is there already.
    #[serde(default)]
    pub mode: Mode,
    /// How the file as a whole is compressed.
    #[serde(default)]
    pub compression: Compression,
}
