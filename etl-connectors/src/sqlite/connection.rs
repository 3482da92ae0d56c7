//! Opening a database, and what its errors mean.

use std::time::Duration;

use etl_core::contract::StepContext;
use etl_core::model::{ErrorClass, StepError};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::flow::{Flow, fault};
use crate::location::safe_path;

/// How long one attempt to get the lock waits; between attempts cancellation is looked at.
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Opens the database that `sqlite:PATH` names.
pub(super) async fn open(
    url: &str,
    ctx: &StepContext,
    access: Access,
) -> Result<SqliteConnection, StepError> {
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return Err(StepError::permanent(format!(
            "{url:?} is no SQLite database; write `sqlite:PATH`"
        )));
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    // Other programs' URLs carry options such as `?mode=rwc` here; what is to be done decides them.
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    if rest.contains(":memory:") {
        return Err(StepError::permanent(
            "a database in memory is gone when the step ends; name a file: `sqlite:PATH`",
        ));
    }
    let path = safe_path(rest, ctx.task().base_dir.as_deref())?;
    if access == Access::Read {
        let metadata = std::fs::metadata(&path)
            .map_err(|error| fault::io(format!("opening {}", path.display()), error))?;
        if metadata.is_dir() {
            return Err(StepError::permanent(format!(
                "{} is a folder, not an SQLite database",
                path.display()
            )));
        }
    } else if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| fault::io(format!("making {}", folder.display()), error))?;
    }
    SqliteConnectOptions::new()
        .filename(&path)
        .read_only(access == Access::Read)
        .create_if_missing(access == Access::Write)
        .busy_timeout(LOCK_WAIT)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|error| failed(&format!("opening {}", path.display()), error))
}

/// Begins a transaction that may write, waiting for its turn as long as the attempt may run: SQLite has one writer at a time.
pub(super) async fn begin(connection: &mut SqliteConnection, flow: &Flow) -> Result<(), StepError> {
    loop {
        flow.check()?;
        match sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut *connection)
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) if is_busy(&error) => {}
            Err(error) => return Err(failed("locking the database", error)),
        }
    }
}

/// Commits, waiting for readers as long as the attempt may run.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    flow: &Flow,
) -> Result<(), StepError> {
    loop {
        flow.check()?;
        match sqlx::query("COMMIT").execute(&mut *connection).await {
            Ok(_) => return Ok(()),
            // SQLite keeps the transaction when a reader is in the way, so that it can be committed again.
            Err(error) if is_busy(&error) => {}
            Err(error) => return Err(failed("committing the rows", error)),
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    primary_code(error).is_some_and(|code| matches!(code, 5 | 6))
}

/// SQLite's primary result code: <https://www.sqlite.org/rescode.html>.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xFF)
}

/// A failed operation on a database.
pub(super) fn failed(what: &str, error: sqlx::Error) -> StepError {
    let (class, hint) = match primary_code(&error) {
        Some(5 | 6) => (
            ErrorClass::Transient,
            ": the database is locked by another program",
        ),
        Some(3) => (ErrorClass::Permanent, ": permission denied"),
        Some(8) => (ErrorClass::Permanent, ": the database is read-only"),
        Some(10) => (ErrorClass::Transient, ": a disk operation failed"),
        Some(11) => (ErrorClass::Permanent, ": the database file is damaged"),
        Some(13) => (ErrorClass::Transient, ": no space left"),
        Some(14) => (ErrorClass::Permanent, ": the file can't be opened"),
        Some(19) => (
            ErrorClass::Permanent,
            ": a row breaks a constraint of the table",
        ),
        Some(20) => (
            ErrorClass::Permanent,
            ": a value does not have the column's type",
        ),
        Some(26) => (ErrorClass::Permanent, ": the file is no SQLite database"),
        Some(_) => (ErrorClass::Permanent, ""),
        None => match &error {
            sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => (ErrorClass::Transient, ""),
            _ => (ErrorClass::Permanent, ""),
        },
    };
    StepError::new(class, format!("{what} failed{hint}")).because(error)
}
