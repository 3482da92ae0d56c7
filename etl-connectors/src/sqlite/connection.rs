//! Opening a database, and what its errors mean.

use std::time::Duration;

use etl_core::contract::StepContext;
use etl_core::model::{ErrorClass, StepError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::flow::{Flow, fault};
use crate::location::safe_path;

/// How long one attempt to get the lock waits; between attempts cancellation is looked at.
const LOCK_WAIT: Duration = Duration::from_millis(200);

/// After how many steps of SQLite's virtual machine cancellation is looked at: well under a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

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
    let path = safe_path(rest, ctx.task().base_dir.as_ref())?;
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
    let opening = |error| failed(&format!("opening {}", path.display()), error);
    let mut connection = SqliteConnectOptions::new()
        .filename(&path)
        .read_only(access == Access::Read)
        .create_if_missing(access == Access::Write)
        .busy_timeout(LOCK_WAIT)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(opening)?;
    // A statement may compute for hours before its first row.
    let cancelled = ctx.cancelled().clone();
    connection
        .lock_handle()
        .await
        .map_err(opening)?
        .set_progress_handler(STEPS_BETWEEN_LOOKS, move || !cancelled.is_cancelled());
    Ok(connection)
}

/// Begins a transaction that sees one state of the database from its start to its end.
pub(super) async fn begin_read(
    connection: &mut SqliteConnection,
    url: &str,
    flow: &Flow,
) -> Result<(), StepError> {
    let reading = |error| failed(&format!("reading {url}"), error);
    sqlx::query("BEGIN")
        .execute(&mut *connection)
        .await
        .map_err(reading)?;
    // The lock is taken by the first statement that reads.
    patiently(
        connection,
        "SELECT 1 FROM sqlite_schema LIMIT 1",
        reading,
        flow,
    )
    .await
}

/// Begins a transaction that may write: SQLite has one writer at a time.
pub(super) async fn begin_write(
    connection: &mut SqliteConnection,
    url: &str,
    flow: &Flow,
) -> Result<(), StepError> {
    let locking = |error| failed(&format!("locking {url}"), error);
    patiently(connection, "BEGIN IMMEDIATE", locking, flow).await?;
    // From here on only a reader can be in the way, and only of writing pages early: that is tried anew for every page and has
    // to give up at once, or a step that reads the same database it writes to would wait for itself.
    wait_for_locks(connection, Duration::ZERO)
        .await
        .map_err(locking)
}

/// Commits. SQLite keeps the transaction when a reader is in the way, so that it can be committed again.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    url: &str,
    flow: &Flow,
) -> Result<(), StepError> {
    let committing = |error| failed(&format!("committing the rows to {url}"), error);
    wait_for_locks(connection, LOCK_WAIT)
        .await
        .map_err(committing)?;
    patiently(connection, "COMMIT", committing, flow).await
}

/// Runs a statement, waiting for other programs' locks as long as the attempt may run. The steps of one pipeline may well load
/// into one database, each for a long time; that is no failure.
async fn patiently(
    connection: &mut SqliteConnection,
    sql: &'static str,
    to_error: impl Fn(sqlx::Error) -> StepError,
    flow: &Flow,
) -> Result<(), StepError> {
    let mut is_told = false;
    loop {
        flow.check()?;
        match sqlx::query(sql).execute(&mut *connection).await {
            Ok(_) => return Ok(()),
            Err(error) if is_busy(&error) => {
                if !is_told {
                    let message = "the database is locked by another program; waiting for it";
                    flow.ctx.warn(message).await;
                    is_told = true;
                }
            }
            Err(error) => return Err(to_error(error)),
        }
    }
}

async fn wait_for_locks(
    connection: &mut SqliteConnection,
    wait: Duration,
) -> Result<(), sqlx::Error> {
    let sql = format!("PRAGMA busy_timeout = {}", wait.as_millis());
    sqlx::query(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(|_| ())
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
        Some(9) => return fault::cancelled(),
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
