//! Commits: which of them hold, and making them true. The rows that the commits of a group touch are read once, all is
//! decided in memory, and a few statements write it; the database's own guards are the second line.

use std::collections::{HashMap, HashSet};

use etl_core::model::{Commit, JobId, Verdict};

use crate::journal::insert_lines;
use crate::lease;
use crate::letters;
use crate::steps;
use crate::text::json;
use crate::writer::Tx;
use etl_store_sql::Answers;
use etl_store_sql::Result;
use etl_store_sql::{CheckpointRow, ItemRow, JobMove, JobNow, LineRow, Plan};
use etl_store_sql::{Columns, Touched, time};

pub(crate) async fn commit(
    tx: &mut Tx<'_>,
    batches: &[&Vec<Commit>],
) -> Result<Answers<Vec<Verdict>>> {
    let touched = Touched::by(batches);
    // The job rows first: holding them is what keeps the others as they are read.
    let jobs = read_jobs(tx, &touched.jobs).await?;
    let leaving: Vec<_> = touched.leaving.iter().copied().collect();
    let (letters, hooks) = letters::known(tx, &leaving).await?;
    let steps = steps::read(tx, &touched.keys).await?;
    let before = Plan::new(jobs, steps, letters, hooks);
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
    let (moved, going_on): (Vec<_>, Vec<_>) = plan
        .job_writes
        .into_values()
        .partition(|write| write.status.is_some());
    // With whichever is written first go the lines: an applied commit writes its job's row.
    let mut lines = plan.lines;
    update_jobs(tx, MOVE_JOBS, &mut lines, &moved).await?;
    update_jobs(tx, COUNT_COMMITS, &mut lines, &going_on).await?;
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

async fn update_jobs(
    tx: &mut Tx<'_>,
    sql: &'static str,
    lines: &mut Vec<LineRow>,
    writes: &[JobMove],
) -> Result<()> {
    if !writes.is_empty() {
        sqlx::query(sql)
            .bind(json(&std::mem::take(lines))?)
            .bind(json(writes)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

const READ_JOBS: &str = "
    SELECT j.id::text, j.status, j.fence, j.commit_seq, etl_text(j.started_at), (j.cancel_requested IS NOT NULL)::int::bigint,
        j.log_last_seq
    FROM job_executions j
    WHERE j.id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v)
    ORDER BY j.id FOR NO KEY UPDATE";

const INSERT_ITEMS: &str = "
    INSERT INTO step_executions (id, job_id, step_id, order_index, item_index, input_data, created_at)
    SELECT (e->>0)::uuid, p.job_id, p.step_id, p.order_index, (e->>3)::int, (e->>4)::jsonb, $2::timestamptz
    FROM jsonb_array_elements($1::jsonb) e
    JOIN step_executions p
        ON p.job_id = (e->>1)::uuid AND p.order_index = (e->>2)::int AND p.item_index = -1";

const PUT_CHECKPOINTS: &str = "
    INSERT INTO step_checkpoints (job_id, order_index, item_index, seq, state, created_at)
    SELECT (e->>0)::uuid, (e->>1)::int, (e->>2)::int, (e->>3)::bigint, (e->>4)::jsonb, (e->>5)::timestamptz
    FROM jsonb_array_elements($1::jsonb) e
    ON CONFLICT (job_id, order_index, item_index)
        DO UPDATE SET seq = excluded.seq, state = excluded.state, created_at = excluded.created_at";

const FORGET_CHECKPOINTS: &str = "
    DELETE FROM step_checkpoints c USING jsonb_array_elements($1::jsonb) e
    WHERE c.job_id = (e->>0)::uuid AND c.order_index = (e->>1)::int AND c.item_index = (e->>2)::int";

const MOVE_JOBS: &str = concat!(
    "WITH lines AS (",
    insert_lines!(),
    ")
    UPDATE job_executions j SET
        commit_seq = e.seq, log_last_seq = e.log_last_seq, status = e.status, lease_expires_at = NULL,
        waiting_since = coalesce(e.waiting_since, j.waiting_since),
        completed_at = e.completed_at, duration_ms = e.duration_ms,
        rows_processed = e.rows_processed, bytes_transferred = e.bytes_transferred,
        error_message = e.error_message, error_stack = e.error_stack
    FROM jsonb_to_recordset($2::jsonb) AS e(
        job uuid, seq bigint, log_last_seq bigint, status text, waiting_since timestamptz, completed_at timestamptz, duration_ms bigint,
        rows_processed bigint, bytes_transferred bigint, error_message text, error_stack text)
    WHERE j.id = e.job"
);

const COUNT_COMMITS: &str = concat!(
    "WITH lines AS (",
    insert_lines!(),
    ")
    UPDATE job_executions j SET commit_seq = e.seq, log_last_seq = e.log_last_seq
    FROM jsonb_to_recordset($2::jsonb) AS e(job uuid, seq bigint, log_last_seq bigint)
    WHERE j.id = e.job"
);
