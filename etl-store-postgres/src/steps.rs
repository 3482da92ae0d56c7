//! Step rows: how they stand, and how they are written, many at a time.

use std::collections::HashMap;

use crate::text::json;
use etl_core::model::{JobId, StepKey, StepStatus};
use etl_store_sql::{Columns, Result, StepNow, StepWrite, time};

use crate::writer::Tx;

/// How these step rows stand; those that don't exist are left out.
pub(crate) async fn read(
    tx: &mut Tx<'_>,
    keys: &[(JobId, u32, i64)],
) -> Result<HashMap<(JobId, StepKey), StepNow>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(READ)
        .bind(json(keys)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    rows.iter()
        .map(|row| {
            let now = StepNow {
                status: row.parsed(3)?,
                started_at: row.opt_parsed(4)?,
                checkpoint: row.opt_number(5)?,
            };
            Ok(((row.parsed(0)?, row.key(1)?), now))
        })
        .collect()
}

/// Writes moves of different rows. Each row is one that `read` found, or one that was made in this transaction.
pub(crate) async fn write(tx: &mut Tx<'_>, moves: &[StepWrite]) -> Result<()> {
    if !moves.is_empty() {
        sqlx::query(WRITE)
            .bind(json(moves)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

/// Settles whatever is open of a job that ends without its owner: attempts become `cancelled`, the rest `skipped`.
pub(crate) async fn settle_open(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<()> {
    let jobs = json(jobs)?;
    let rows = sqlx::query(BEGUN)
        .bind(&jobs)
        .fetch_all(&mut *tx.conn)
        .await?;
    let at = tx.now;
    let mut moves = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut now = StepNow {
            status: row.parsed(3)?,
            started_at: row.opt_parsed(4)?,
            checkpoint: None,
        };
        moves.push(StepWrite::new(
            row.parsed(0)?,
            row.key(1)?,
            &mut now,
            StepStatus::Cancelled,
            at,
        ));
    }
    write(tx, &moves).await?;
    sqlx::query(SKIP_PENDING)
        .bind(&jobs)
        .bind(time(at))
        .execute(&mut *tx.conn)
        .await?;
    sqlx::query(FORGET_CHECKPOINTS)
        .bind(&jobs)
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}

const READ: &str = "
    SELECT s.job_id::text, s.order_index::bigint, s.item_index::bigint, s.status, etl_text(s.started_at), c.seq
    FROM jsonb_array_elements($1::jsonb) e
    JOIN step_executions s
        ON s.job_id = (e->>0)::uuid AND s.order_index = (e->>1)::int AND s.item_index = (e->>2)::int
    LEFT JOIN step_checkpoints c
        ON c.job_id = s.job_id AND c.order_index = s.order_index AND c.item_index = s.item_index";

const WRITE: &str = "
    UPDATE step_executions s SET
        status = e.status,
        attempt = coalesce(e.attempt, s.attempt),
        lost = coalesce(e.lost, s.lost),
        returned = coalesce(e.returned, s.returned),
        progress = coalesce(e.progress, s.progress),
        next_run_at = e.next_run_at,
        started_at = coalesce(e.started_at, s.started_at),
        completed_at = e.completed_at,
        duration_ms = e.duration_ms,
        output_data = coalesce(e.output_data::jsonb, s.output_data),
        items = coalesce(e.items::jsonb, s.items),
        item_count = coalesce(e.item_count, s.item_count),
        artifacts = coalesce(e.artifacts::jsonb, s.artifacts),
        rows_processed = coalesce(e.rows_processed, s.rows_processed),
        bytes_transferred = coalesce(e.bytes_transferred, s.bytes_transferred),
        metrics = coalesce(e.metrics::jsonb, s.metrics),
        skip_reason = coalesce(e.skip_reason, s.skip_reason),
        error_class = coalesce(e.error_class, s.error_class),
        error_message = coalesce(e.error_message, s.error_message),
        error_stack = coalesce(e.error_stack, s.error_stack)
    FROM jsonb_to_recordset($1::jsonb) AS e(
        job uuid, step int, item int, status text, attempt int, lost int, returned int, progress int,
        next_run_at timestamptz, started_at timestamptz, completed_at timestamptz, duration_ms bigint, output_data text, items text, item_count int,
        artifacts text, rows_processed bigint, bytes_transferred bigint, metrics text, skip_reason text, error_class text,
        error_message text, error_stack text)
    WHERE s.job_id = e.job AND s.order_index = e.step AND s.item_index = e.item";

const BEGUN: &str = "
    SELECT job_id::text, order_index::bigint, item_index::bigint, status, etl_text(started_at)
    FROM step_executions
    WHERE job_id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v)
        AND status <> 'pending' AND status IN ('running', 'retrying')";

const SKIP_PENDING: &str = "
    UPDATE step_executions SET status = 'skipped', skip_reason = 'job_ended', completed_at = $2::timestamptz
    WHERE job_id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v) AND status = 'pending'";

const FORGET_CHECKPOINTS: &str = "
    DELETE FROM step_checkpoints WHERE job_id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v)";
