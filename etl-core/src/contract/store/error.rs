//! Why a store failed, by what the caller can do.

use crate::model::BoxError;

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A store operation that failed. An expected refusal is a value of the operation, not this.
#[derive(Debug, thiserror::Error)]
#[error("store, {op}: {kind}")]
pub struct StoreError {
    /// The operation.
    pub op: &'static str,
    /// What the caller can do.
    pub kind: StoreErrorKind,
    /// What caused it.
    #[source]
    pub source: Option<BoxError>,
}

impl StoreError {
    /// An error of this kind.
    pub fn new(op: &'static str, kind: StoreErrorKind) -> Self {
        Self {
            op,
            kind,
            source: None,
        }
    }

    /// The same error with its cause.
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// What the caller can do about a [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Wait and try again; nothing was changed.
    #[error("the store can't be reached")]
    Unavailable,
    /// Send the same commit again: its sequence number tells whether it was applied.
    #[error("the connection was lost and the outcome is unknown")]
    OutcomeUnknown,
    /// Read again; somebody else changed it (HTTP 412).
    #[error("the version is stale")]
    Stale,
    /// What it refers to does not exist.
    #[error("not found")]
    NotFound,
    /// A transition that the table of legal ones does not have: a bug of ours.
    #[error("the transition is not legal")]
    Illegal,
    /// Another server has the store: stop that one or use another store.
    #[error("another server uses this store")]
    InUse,
    /// It was made by another version or by another program, and the message says what to do: nothing is wrong with it.
    #[error("the store is not one that this program can use")]
    Incompatible,
    /// Stored data can't be read: call someone.
    #[error("stored data can't be read")]
    Corrupt,
}
