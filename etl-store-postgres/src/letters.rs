//! What a job leaves behind for others: dead letters, and hooks to be run after its end.

use std::collections::HashSet;

use async_trait::async_trait;
use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{HookStore, Result as StoreResult, SettledHook, WaitingHook};
use etl_core::model::{DeadLetter, HookRow, JobId, StepKey};
use etl_store_sql::{
    Answers, Columns, Fault, LetterRow, PutOff, Result, StoredHook, dead_letter, hook, time,
};
use sqlx::PgPool;

use crate::PostgresStore;
use crate::text::json;

use crate::writer::Tx;

/// The dead letters and the hooks that these jobs have already.
pub(crate) async fn known(
    tx: &mut Tx<'_>,
    jobs: &[JobId],
) -> Result<(HashSet<(JobId, StepKey)>, HashSet<(JobId, u32)>)> {
    if jobs.is_empty() {
        return Ok(Default::default());
    }
    let jobs = json(jobs)?;
    let letters = sqlx::query(KNOWN_LETTERS)
        .bind(&jobs)
        .fetch_all(&mut *tx.conn)
        .await?;
    let hooks = sqlx::query(KNOWN_HOOKS)
        .bind(&jobs)
        .fetch_all(&mut *tx.conn)
        .await?;
    Ok((
        letters
            .iter()
            .map(|row| Ok((row.parsed(0)?, row.key(1)?)))
            .collect::<Result<_>>()?,
        hooks
            .iter()
            .map(|row| Ok((row.parsed(0)?, row.number(1)?)))
            .collect::<Result<_>>()?,
    ))
}

pub(crate) async fn insert(
    tx: &mut Tx<'_>,
    letters: &[LetterRow],
    hooks: &[StoredHook],
) -> Result<()> {
    if !letters.is_empty() {
        sqlx::query(INSERT_LETTERS)
            .bind(json(letters)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    if !hooks.is_empty() {
        sqlx::query(INSERT_HOOKS)
            .bind(json(hooks)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

pub(crate) async fn dead_letters(pool: &PgPool, job: JobId) -> Result<Vec<DeadLetter>> {
    let rows = sqlx::query(LETTERS)
        .bind(job.to_string())
        .fetch_all(pool)
        .await?;
    rows.iter().map(dead_letter).collect()
}

pub(crate) async fn hooks(pool: &PgPool, job: JobId) -> Result<Vec<HookRow>> {
    let rows = sqlx::query(HOOKS)
        .bind(job.to_string())
        .fetch_all(pool)
        .await?;
    rows.iter().map(hook).collect()
}

/// Settles hooks that wait.
pub(crate) async fn settle(tx: &mut Tx<'_>, settled: &[&SettledHook]) -> Result<Answers<()>> {
    let mut answers = Vec::with_capacity(settled.len());
    for settled in settled {
        let written = sqlx::query(SETTLE)
            .bind(settled.job.to_string())
            .bind(i64::from(settled.position))
            .bind(
                settled
                    .error
                    .as_ref()
                    .map(|error| error.replace('\0', "\u{fffd}")),
            )
            .bind(time(tx.now))
            .execute(&mut *tx.conn)
            .await?;
        answers.push(if written.rows_affected() == 0 {
            let message = "there is no such hook";
            Err(Fault::said(StoreErrorKind::NotFound, message))
        } else {
            Ok(())
        });
    }
    Ok(answers)
}

impl PostgresStore {
    /// Hooks that wait, and those among them that can't be read.
    async fn look_for_hooks(&self, limit: usize) -> Result<(Vec<WaitingHook>, PutOff)> {
        let now = self.now().await?;
        let rows = sqlx::query(WAITING)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(time(now))
            .fetch_all(self.readers())
            .await?;
        let (mut waiting, mut unreadable) = (Vec::with_capacity(rows.len()), PutOff::default());
        for row in &rows {
            match (row.parsed(2), hook(row)) {
                (Ok(job), Ok(hook)) => waiting.push(WaitingHook { job, hook }),
                (Err(fault), _) | (_, Err(fault)) => {
                    let job_id = row.str(2)?;
                    tracing::error!(job_id, error = ?fault, "a hook can't be read and was passed over");
                    unreadable.hook(row, (2, 0, 3), now)?;
                }
            }
        }
        Ok((waiting, unreadable))
    }
}

#[async_trait]
impl HookStore for PostgresStore {
    async fn waiting_hooks(&self, limit: usize) -> StoreResult<Vec<WaitingHook>> {
        loop {
            let looked = self.look_for_hooks(limit).await;
            let (waiting, unreadable) = looked.map_err(|fault: Fault| fault.of("waiting_hooks"))?;
            let has_room = unreadable.hooks.len() < limit;
            if unreadable.is_empty() || !self.put_off(unreadable).await || has_room {
                return Ok(waiting);
            }
            // There was no room for one that can be read.
        }
    }

    async fn settle_hook(&self, settled: SettledHook) -> StoreResult<()> {
        self.ask(settled).await
    }
}

const KNOWN_LETTERS: &str = "
    SELECT job_id::text, order_index::bigint, item_index::bigint FROM dead_letters
    WHERE job_id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v)";

const KNOWN_HOOKS: &str = "
    SELECT job_id::text, position::bigint FROM job_hooks
    WHERE job_id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v)";

const INSERT_LETTERS: &str = "
    INSERT INTO dead_letters (
        id, pipeline_id, job_id, order_index, item_index, step_name, attempts, error_class, error_message, created_at)
    SELECT e.id, (SELECT pipeline_id FROM job_executions j WHERE j.id = job), job, step, item, step_name, attempts, error_class, error_message, at
    FROM jsonb_to_recordset($1::jsonb) AS e(
        id uuid, job uuid, step int, item int, step_name text, attempts bigint, error_class text, error_message text, at timestamptz)";

const INSERT_HOOKS: &str = "
    INSERT INTO job_hooks (job_id, position, kind, target, created_at)
    SELECT job, position, kind, target::jsonb, at
    FROM jsonb_to_recordset($1::jsonb) AS e(job uuid, position int, kind text, target text, at timestamptz)";

const LETTERS: &str = "
    SELECT order_index::bigint, item_index::bigint, step_name, attempts::bigint, error_class, error_message FROM dead_letters
    WHERE job_id = $1::uuid ORDER BY order_index, item_index";

const HOOKS: &str = "SELECT position::bigint, target::text FROM job_hooks WHERE job_id = $1::uuid ORDER BY position";

const WAITING: &str = "
    SELECT h.position::bigint, h.target::text, h.job_id::text, h.put_off::bigint FROM job_hooks h
    WHERE h.status = 'pending' AND h.kind = 'trigger_pipeline'
        AND (h.put_off_until IS NULL OR h.put_off_until <= $2::timestamptz)
    ORDER BY h.created_at, h.job_id, h.position LIMIT $1";

const SETTLE: &str = "
    UPDATE job_hooks SET
        status = CASE WHEN status <> 'pending' THEN status WHEN $3::text IS NULL THEN 'done' ELSE 'failed' END,
        error = CASE WHEN status = 'pending' THEN $3::text ELSE error END,
        completed_at = coalesce(completed_at, $4::timestamptz)
    WHERE job_id = $1::uuid AND position = $2::int";
