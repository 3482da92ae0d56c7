//! What can go wrong in the database, sorted by what a caller of the store can do. It never holds a row's value.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use etl_core::contract::{StoreError, StoreErrorKind};

/// A failure that is not yet anybody's answer: it can be shared by all requests of a group.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: StoreErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The result of a piece of work in the database.
pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

/// A failure with the file that it is about.
#[derive(Debug, thiserror::Error)]
#[error("database {}", path.display())]
struct InFile {
    path: PathBuf,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// A cause that is told by its words alone.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl Fault {
    pub(crate) const fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// A failure that is explained in words.
    pub(crate) fn said(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self::caused(kind, Said(message.into()))
    }

    pub(crate) fn caused(kind: StoreErrorKind, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            kind,
            source: Some(Arc::new(source)),
        }
    }

    /// A stored value that can't be read.
    pub(crate) fn corrupt(source: impl Error + Send + Sync + 'static) -> Self {
        Self::caused(StoreErrorKind::Corrupt, source)
    }

    pub(crate) fn illegal(message: impl Into<String>) -> Self {
        Self::said(StoreErrorKind::Illegal, message)
    }

    /// The same failure, told as one of COMMIT: whether it took effect can't be known, unless the database itself says no.
    pub(crate) fn in_commit(self) -> Self {
        match self.kind {
            StoreErrorKind::Unavailable if !self.is_refusal_to_write() => Self {
                kind: StoreErrorKind::OutcomeUnknown,
                ..self
            },
            _ => self,
        }
    }

    /// The same failure, with the file that it is about.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        let path = path.to_owned();
        let source = self.source;
        Self::caused(self.kind, InFile { path, source })
    }

    /// As the answer of an operation.
    pub(crate) fn of(self, op: &'static str) -> StoreError {
        let error = StoreError::new(op, self.kind);
        match self.source {
            Some(source) => error.because(source),
            None => error,
        }
    }

    /// Whether SQLite gave up before it wrote the end of the transaction: the disk is full, or somebody held the lock.
    fn is_refusal_to_write(&self) -> bool {
        self.source
            .as_ref()
            .and_then(|source| source.downcast_ref::<sqlx::Error>())
            .and_then(code)
            .is_some_and(|code| matches!(code & 0xff, BUSY | FULL))
    }
}

const PERM: i32 = 3;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NOMEM: i32 = 7;
const READONLY: i32 = 8;
const INTERRUPT: i32 = 9;
const IOERR: i32 = 10;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const CONSTRAINT: i32 = 19;
const CONSTRAINT_FOREIGNKEY: i32 = CONSTRAINT | (3 << 8);
const IOERR_CORRUPTFS: i32 = IOERR | (33 << 8);

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let kind = match &error {
            sqlx::Error::Database(_) => code(&error).map_or(StoreErrorKind::Corrupt, kind_of),
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::Corrupt,
        };
        Self::caused(kind, error)
    }
}

/// SQLite's extended result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Result codes: <https://www.sqlite.org/rescode.html>.
fn kind_of(code: i32) -> StoreErrorKind {
    if code == IOERR_CORRUPTFS {
        return StoreErrorKind::Corrupt;
    }
    match code & 0xff {
        PERM | BUSY | LOCKED | NOMEM | READONLY | INTERRUPT | IOERR | FULL | CANTOPEN => {
            StoreErrorKind::Unavailable
        }
        CONSTRAINT if code == CONSTRAINT_FOREIGNKEY => StoreErrorKind::NotFound,
        CONSTRAINT => StoreErrorKind::Illegal,
        _ => StoreErrorKind::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_code_says_what_the_caller_can_do() {
        for (code, kind) in [
            (13, StoreErrorKind::Unavailable),
            (IOERR | (4 << 8), StoreErrorKind::Unavailable),
            (8, StoreErrorKind::Unavailable),
            (BUSY | (2 << 8), StoreErrorKind::Unavailable),
            (11, StoreErrorKind::Corrupt),
            (26, StoreErrorKind::Corrupt),
            (IOERR_CORRUPTFS, StoreErrorKind::Corrupt),
            (1811, StoreErrorKind::Illegal),
            (275, StoreErrorKind::Illegal),
            (787, StoreErrorKind::NotFound),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }

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
