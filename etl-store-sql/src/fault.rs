//! What can go wrong in a database, sorted by what a caller of the store can do. It never holds a row's value.

use std::error::Error;
use std::sync::Arc;

use etl_core::contract::{StoreError, StoreErrorKind};
use sqlx::error::DatabaseError;

use crate::codes;

/// A failure that is not yet anybody's answer: it can be shared by all requests of a group.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What a caller can do.
    pub kind: StoreErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The result of a piece of work in the database.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// A failure with the place that it is about.
#[derive(Debug, thiserror::Error)]
#[error("database {place}")]
struct InPlace {
    place: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// A cause that is told by its words alone.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl Fault {
    /// A failure of which nothing more is known.
    pub const fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// A failure that is explained in words.
    pub fn said(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self::caused(kind, Said(message.into()))
    }

    /// A failure with its cause.
    pub fn caused(kind: StoreErrorKind, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            kind,
            source: Some(Arc::new(source)),
        }
    }

    /// A stored value that can't be read.
    pub fn corrupt(source: impl Error + Send + Sync + 'static) -> Self {
        Self::caused(StoreErrorKind::Corrupt, source)
    }

    /// Something that the protocol does not allow.
    pub fn illegal(message: impl Into<String>) -> Self {
        Self::said(StoreErrorKind::Illegal, message)
    }

    /// The same failure, told as one of COMMIT: whether it took effect can't be known, unless the database itself says no.
    pub fn in_commit(self) -> Self {
        let refused = self.database().is_some_and(codes::is_refusal_to_write);
        match self.kind {
            StoreErrorKind::Unavailable if !refused => Self {
                kind: StoreErrorKind::OutcomeUnknown,
                ..self
            },
            _ => self,
        }
    }

    /// The same failure, with the place that it is about: a file, or a URL without its secrets.
    pub fn in_place(self, place: impl Into<String>) -> Self {
        let place = place.into();
        let source = self.source;
        Self::caused(self.kind, InPlace { place, source })
    }

    /// Whether another transaction got in the way, so that the same one may succeed when it is tried again.
    pub fn is_conflict(&self) -> bool {
        self.database().is_some_and(codes::is_conflict)
    }

    /// Whether it is about what was asked, and not about the place.
    pub fn is_of_one_request(&self) -> bool {
        !matches!(
            self.kind,
            StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
        )
    }

    /// As the answer of an operation.
    pub fn of(self, op: &'static str) -> StoreError {
        let error = StoreError::new(op, self.kind);
        match self.source {
            Some(source) => error.because(source),
            None => error,
        }
    }

    /// What the database itself said, if it was the database.
    fn database(&self) -> Option<&dyn DatabaseError> {
        let source = self.source.as_ref()?;
        source.downcast_ref::<sqlx::Error>()?.as_database_error()
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let kind = match &error {
            sqlx::Error::Database(error) => codes::kind(&**error),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::Corrupt,
        };
        Self::caused(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_in_commit_leaves_the_outcome_unknown() {
        let fault = Fault::from(sqlx::Error::WorkerCrashed);
        assert_eq!(fault.kind, StoreErrorKind::Unavailable);
        assert_eq!(fault.in_commit().kind, StoreErrorKind::OutcomeUnknown);
        assert_eq!(
            Fault::illegal("no").in_commit().kind,
            StoreErrorKind::Illegal
        );
    }
}
