//! What was loaded already, remembered in the target database in the same transaction as the rows: the reason why a repeated
//! attempt adds no row twice, and why an attempt that lost its lease adds none at all.

use etl_core::contract::StepContext;
use etl_core::model::StepError;
use sqlx::sqlite::SqliteConnection;

use super::connection::failed;

/// How long a load is remembered; no attempt of the same job comes after that.
const KEPT_DAYS: u32 = 400;

/// What the ledger says of this step execution and target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Earlier {
    /// Nothing was loaded yet.
    Nothing,
    /// An earlier attempt loaded it.
    Loaded,
}

/// Looks into the ledger. Call it within the transaction.
///
/// # Errors
/// If a later owner of the job has loaded it: this attempt's time is over.
pub(super) async fn earlier(
    connection: &mut SqliteConnection,
    table: &str,
    ctx: &StepContext,
) -> Result<Earlier, StepError> {
    let looking = |error| failed("reading the table _etl_loads", error);
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS _etl_loads (
            idempotency_key TEXT NOT NULL,
            target TEXT NOT NULL,
            fence INTEGER NOT NULL,
            loaded_rows INTEGER NOT NULL,
            loaded_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
            PRIMARY KEY (idempotency_key, target)
        ) WITHOUT ROWID",
    )
    .execute(&mut *connection)
    .await
    .map_err(looking)?;
    let fence: Option<i64> =
        sqlx::query_scalar("SELECT fence FROM _etl_loads WHERE idempotency_key = ? AND target = ?")
            .bind(ctx.idempotency_key())
            .bind(table)
            .fetch_optional(&mut *connection)
            .await
            .map_err(looking)?;
    match fence {
        None => Ok(Earlier::Nothing),
        Some(fence) if fence > ctx.task().fence.0.cast_signed() => Err(StepError::permanent(
            "a later owner of this job has loaded these rows already; this attempt lost its lease",
        )),
        Some(_) => Ok(Earlier::Loaded),
    }
}

/// Remembers the load. Call it within the transaction.
pub(super) async fn remember(
    connection: &mut SqliteConnection,
    table: &str,
    rows: u64,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let writing = |error| failed("writing the table _etl_loads", error);
    sqlx::query(
        "INSERT INTO _etl_loads (idempotency_key, target, fence, loaded_rows) VALUES (?, ?, ?, ?)
         ON CONFLICT (idempotency_key, target) DO UPDATE SET
            fence = excluded.fence, loaded_rows = excluded.loaded_rows, loaded_at = excluded.loaded_at",
    )
    .bind(ctx.idempotency_key())
    .bind(table)
    .bind(ctx.task().fence.0.cast_signed())
    .bind(rows.cast_signed())
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    sqlx::query(
        "DELETE FROM _etl_loads
         WHERE loaded_at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-' || ? || ' days')",
    )
    .bind(KEPT_DAYS)
    .execute(&mut *connection)
    .await
    .map_err(writing)?;
    Ok(())
}
