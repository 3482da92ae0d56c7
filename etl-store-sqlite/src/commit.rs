//! Commits: which of them hold, and making them true. The rows that the commits of a group touch are read once, all is
//! decided in memory, and a few statements write it; the database's own guards are the second line.

use std::collections::{HashMap, HashSet};

use etl_core::model::{Commit, JobId, Verdict};

use crate::journal;
use crate::lease;
use crate::letters;
use crate::steps;
use crate::writer::Tx;
use etl_store_sql::Answers;
use etl_store_sql::Result;
use etl_store_sql::{CheckpointRow, ItemRow, JobMove, JobNow, Plan};
use etl_store_sql::{Columns, Touched, json, time};

pub(crate) async fn commit(
    tx: &mut Tx<'_>,
    batches: &[&Vec<Commit>],
) -> Result<Answers<Vec<Verdict>>> {
    let touched = Touched::by(batches);
    let leaving: Vec<_> = touched.leaving.iter().copied().collect();
    let (letters, hooks) = letters::known(tx, &leaving).await?;
    let before = Plan::new(
        read_jobs(tx, &touched.jobs).await?,
        steps::read(tx, &touched.keys).await?,
        letters,
        hooks,
    );
    let (plan, answers) = etl_store_sql::decide(&before, batches, tx.now);
    write(tx, plan).await?;
    Ok(answers)
}

async fn read_jobs(tx: &mut Tx<'_>, jobs: &HashSet<JobId>) -> Result<HashMap<JobId, JobNow>> {
    let rows = sqlx::query(READ_JOBS)
        .bind(json(jobs)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    rows.iter()
        .map(|row| {
            let now = JobNow {
                status: row.parsed(1)?,
                fence: etl_core::model::Fence(row.number(2)?),
                seq: row.number(3)?,
                started_at: row.opt_parsed(4)?,
                cancel: row.int(5)? != 0,
                log_last_seq: row.int(6)?,
            };
            Ok((row.parsed(0)?, now))
        })
        .collect()
}

async fn write(tx: &mut Tx<'_>, plan: Plan) -> Result<()> {
    insert_items(tx, &plan.items).await?;
    // A row that moves twice in one group moves in two statements, so that the database sees each move.
    for wave in &plan.waves {
        steps::write(tx, wave).await?;
    }
    let checkpoints: Vec<_> = plan.checkpoints.into_values().collect();
    put_checkpoints(tx, &checkpoints).await?;
    forget_checkpoints(tx, &plan.forgotten).await?;
    letters::insert(tx, &plan.letter_rows, &plan.hook_rows).await?;
    journal::insert(tx, &plan.lines).await?;
    let (moved, going_on): (Vec<_>, Vec<_>) = plan
        .job_writes
        .into_values()
        .partition(|write| write.status.is_some());
    update_jobs(tx, MOVE_JOBS, &moved).await?;
    update_jobs(tx, COUNT_COMMITS, &going_on).await?;
    lease::end_handed_back(tx, &plan.ends).await
}

async fn insert_items(tx: &mut Tx<'_>, items: &[ItemRow]) -> Result<()> {
    if !items.is_empty() {
        sqlx::query(INSERT_ITEMS)
            .bind(json(items)?)
            .bind(time(tx.now))
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

async fn put_checkpoints(tx: &mut Tx<'_>, rows: &[CheckpointRow]) -> Result<()> {
    if !rows.is_empty() {
        sqlx::query(PUT_CHECKPOINTS)
            .bind(json(rows)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

async fn forget_checkpoints(tx: &mut Tx<'_>, keys: &[(JobId, u32, i64)]) -> Result<()> {
    if !keys.is_empty() {
        sqlx::query(FORGET_CHECKPOINTS)
            .bind(json(keys)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

async fn update_jobs(tx: &mut Tx<'_>, sql: &'static str, writes: &[JobMove]) -> Result<()> {
    if !writes.is_empty() {
        sqlx::query(sql)
            .bind(json(writes)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

pub(crate) const READ_JOBS: &str = "
    SELECT j.id, j.status, j.fence, j.commit_seq, j.started_at, j.cancel_requested IS NOT NULL, j.log_last_seq
    FROM jsonb_each(?1) e CROSS JOIN job_executions j ON j.id = e.value";

pub(crate) const INSERT_ITEMS: &str = "
    INSERT INTO step_executions (id, job_id, step_id, order_index, item_index, input_data, created_at)
    SELECT e.value->>0, p.job_id, p.step_id, p.order_index, e.value->>3, e.value->>4, ?2
    FROM jsonb_each(?1) e
    CROSS JOIN step_executions p
        ON p.job_id = e.value->>1 AND p.order_index = e.value->>2 AND p.item_index = -1";

const PUT_CHECKPOINTS: &str = "
    INSERT INTO step_checkpoints (job_id, order_index, item_index, seq, state, created_at)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5
    FROM jsonb_each(?1)
    WHERE true
    ON CONFLICT DO UPDATE SET seq = excluded.seq, state = excluded.state, created_at = excluded.created_at";

pub(crate) const FORGET_CHECKPOINTS: &str = "
    DELETE FROM step_checkpoints
    WHERE (job_id, order_index, item_index) IN (SELECT value->>0, value->>1, value->>2 FROM jsonb_each(?1))";

pub(crate) const MOVE_JOBS: &str = "
    UPDATE job_executions SET
        commit_seq = value->>'seq', log_last_seq = value->>'log_last_seq', status = value->>'status', lease_expires_at = NULL,
        waiting_since = coalesce(value->>'waiting_since', waiting_since),
        completed_at = value->>'completed_at', duration_ms = value->>'duration_ms',
        rows_processed = value->>'rows_processed', bytes_transferred = value->>'bytes_transferred',
        error_message = value->>'error_message', error_stack = value->>'error_stack'
    FROM jsonb_each(?1)
    WHERE job_executions.id = value->>'job'";

pub(crate) const COUNT_COMMITS: &str = "
    UPDATE job_executions SET commit_seq = value->>'seq', log_last_seq = value->>'log_last_seq'
    FROM jsonb_each(?1)
    WHERE job_executions.id = value->>'job'";
