//! Step rows: how they stand, and how they are written, many at a time.

use std::collections::HashMap;

use etl_core::model::{JobId, StepKey, StepStatus};
use etl_store_sql::{Columns, Result, StepNow, StepWrite, json, time};

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

pub(crate) const READ: &str = "
    SELECT s.job_id, s.order_index, s.item_index, s.status, s.started_at, c.seq
    FROM jsonb_each(?1) e
    CROSS JOIN step_executions s
        ON s.job_id = e.value->>0 AND s.order_index = e.value->>1 AND s.item_index = e.value->>2
    LEFT JOIN step_checkpoints c
        ON c.job_id = s.job_id AND c.order_index = s.order_index AND c.item_index = s.item_index";

pub(crate) const WRITE: &str = "
    UPDATE step_executions SET
        status = value->>'status',
        attempt = coalesce(value->>'attempt', attempt),
        lost = coalesce(value->>'lost', lost),
        returned = coalesce(value->>'returned', returned),
        progress = coalesce(value->>'progress', progress),
        next_run_at = value->>'next_run_at',
        started_at = coalesce(value->>'started_at', started_at),
        completed_at = value->>'completed_at',
        duration_ms = value->>'duration_ms',
        output_data = coalesce(value->>'output_data', output_data),
        items = coalesce(value->>'items', items),
        item_count = coalesce(value->>'item_count', item_count),
        artifacts = coalesce(value->>'artifacts', artifacts),
        rows_processed = coalesce(value->>'rows_processed', rows_processed),
        bytes_transferred = coalesce(value->>'bytes_transferred', bytes_transferred),
        metrics = coalesce(value->>'metrics', metrics),
        skip_reason = coalesce(value->>'skip_reason', skip_reason),
        error_class = coalesce(value->>'error_class', error_class),
        error_message = coalesce(value->>'error_message', error_message),
        error_stack = coalesce(value->>'error_stack', error_stack)
    FROM jsonb_each(?1)
    WHERE job_id = value->>'job' AND order_index = value->>'step' AND item_index = value->>'item'";

pub(crate) const BEGUN: &str = "
    SELECT job_id, order_index, item_index, status, started_at
    FROM step_executions INDEXED BY idx_steps_begun
    WHERE job_id IN (SELECT value FROM jsonb_each(?1)) AND status <> 'pending' AND status IN ('running', 'retrying')";

pub(crate) const SKIP_PENDING: &str = "
    UPDATE step_executions SET status = 'skipped', skip_reason = 'job_ended', completed_at = ?2
    WHERE job_id IN (SELECT value FROM jsonb_each(?1)) AND status = 'pending'";

pub(crate) const FORGET_CHECKPOINTS: &str =
    "DELETE FROM step_checkpoints WHERE job_id IN (SELECT value FROM jsonb_each(?1))";
