//! What a job leaves behind for others: dead letters, and hooks to be run after its end.

use std::collections::HashSet;

use etl_core::model::{DeadLetter, HookRow, HookTarget, JobId, PipelineRef, StepKey, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::SqlitePool;

use crate::error::Result;
use crate::rows::{Columns, item_column, json, parse_json, time, word};
use crate::writer::Tx;

/// A row of `dead_letters`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LetterRow {
    job: JobId,
    step: u32,
    item: i64,
    step_name: String,
    attempts: u32,
    error_class: &'static str,
    error_message: String,
    at: String,
}

impl LetterRow {
    pub(crate) fn new(job: JobId, letter: &DeadLetter, at: Timestamp) -> Self {
        Self {
            job,
            step: letter.key.step,
            item: item_column(letter.key),
            step_name: letter.step_name.clone(),
            attempts: letter.attempts,
            error_class: letter.error_class.as_str(),
            error_message: letter.error.clone(),
            at: time(at),
        }
    }
}

/// A row of `job_hooks`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StoredHook {
    job: JobId,
    position: u32,
    kind: &'static str,
    target: String,
    at: String,
}

/// `job_hooks.target`, by `job_hooks.kind`.
#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Target {
    TriggerPipeline {
        name: String,
        parameters: Map<String, Value>,
        after: PipelineRef,
    },
    Webhook {
        url: String,
        credential: Option<String>,
    },
}

impl StoredHook {
    pub(crate) fn new(job: JobId, hook: &HookRow, at: Timestamp) -> Result<Self> {
        let (kind, target) = match hook.target.clone() {
            HookTarget::TriggerPipeline {
                name,
                parameters,
                after,
            } => (
                "trigger_pipeline",
                Target::TriggerPipeline {
                    name,
                    parameters,
                    after,
                },
            ),
            HookTarget::Webhook { url, credential } => {
                ("webhook", Target::Webhook { url, credential })
            }
        };
        Ok(Self {
            job,
            position: hook.position,
            kind,
            target: json(&target)?,
            at: time(at),
        })
    }
}

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
    rows.iter()
        .map(|row| {
            Ok(DeadLetter {
                key: row.key(0)?,
                step_name: row.str(2)?.into(),
                attempts: row.number(3)?,
                error_class: word(row.str(4)?)?,
                error: row.str(5)?.into(),
            })
        })
        .collect()
}

pub(crate) async fn hooks(pool: &SqlitePool, job: JobId) -> Result<Vec<HookRow>> {
    let rows = sqlx::query(HOOKS)
        .bind(job.to_string())
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            let target = match parse_json(row.str(1)?)? {
                Target::TriggerPipeline {
                    name,
                    parameters,
                    after,
                } => HookTarget::TriggerPipeline {
                    name,
                    parameters,
                    after,
                },
                Target::Webhook { url, credential } => HookTarget::Webhook { url, credential },
            };
            Ok(HookRow {
                position: row.number(0)?,
                target,
            })
        })
        .collect()
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
