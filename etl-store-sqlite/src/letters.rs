//! What a job leaves behind for others: dead letters, and hooks to be run after its end.

use std::collections::HashSet;

use etl_core::model::{DeadLetter, HookRow, JobId, StepKey};
use etl_store_sql::{Columns, LetterRow, Result, StoredHook, dead_letter, hook, json};
use sqlx::SqlitePool;

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

pub(crate) async fn dead_letters(pool: &SqlitePool, job: JobId) -> Result<Vec<DeadLetter>> {
    let rows = sqlx::query(LETTERS)
        .bind(job.to_string())
        .fetch_all(pool)
        .await?;
    rows.iter().map(dead_letter).collect()
}

pub(crate) async fn hooks(pool: &SqlitePool, job: JobId) -> Result<Vec<HookRow>> {
    let rows = sqlx::query(HOOKS)
        .bind(job.to_string())
        .fetch_all(pool)
        .await?;
    rows.iter().map(hook).collect()
}

pub(crate) const KNOWN_LETTERS: &str = "
    SELECT job_id, order_index, item_index FROM dead_letters
    WHERE job_id IN (SELECT value FROM jsonb_each(?1))";

pub(crate) const KNOWN_HOOKS: &str = "
    SELECT job_id, position FROM job_hooks WHERE job_id IN (SELECT value FROM jsonb_each(?1))";

const INSERT_LETTERS: &str = "
    INSERT INTO dead_letters (job_id, order_index, item_index, step_name, attempts, error_class, error_message, created_at)
    SELECT value->>'job', value->>'step', value->>'item', value->>'step_name', value->>'attempts',
        value->>'error_class', value->>'error_message', value->>'at'
    FROM jsonb_each(?1)";

const INSERT_HOOKS: &str = "
    INSERT INTO job_hooks (job_id, position, kind, target, created_at)
    SELECT value->>'job', value->>'position', value->>'kind', value->>'target', value->>'at'
    FROM jsonb_each(?1)";

pub(crate) const LETTERS: &str = "
    SELECT order_index, item_index, step_name, attempts, error_class, error_message FROM dead_letters
    WHERE job_id = ?1 ORDER BY order_index, item_index";

pub(crate) const HOOKS: &str =
    "SELECT position, target FROM job_hooks WHERE job_id = ?1 ORDER BY position";
