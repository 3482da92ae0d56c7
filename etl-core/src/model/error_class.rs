//! What kind of failure an error is, as far as deciding the next move needs it.

use serde::{Deserialize, Serialize};

/// The class of a step's failure. Only the first two are retried; the engine has the one match that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// May pass by itself: a connection lost, a time-out, a full disk that someone empties.
    Transient,
    /// The other side asks for patience (HTTP 429 and 503).
    Throttled,
    /// The same attempt would fail again: bad configuration, bad data, a bug.
    Permanent,
    /// The credential was refused. Trying again may lock the account.
    Auth,
    /// The input itself breaks whoever handles it; set aside, never retried.
    Poison,
}

impl ErrorClass {
    /// Whether another attempt may help.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Throttled)
    }

    /// The name in documents, rows and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Permanent => "permanent",
            Self::Auth => "auth",
            Self::Poison => "poison",
        }
    }
}

impl std::fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
