//! Accepting jobs, and noting that the queue knows of them.

use std::collections::{HashMap, HashSet};

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{Submitted, way};
use etl_core::model::{JobId, NewJob, PipelineId};

use crate::lease::{self, CancelRequest};
use crate::writer::Tx;
use etl_store_sql::Answers;
use etl_store_sql::{Columns, Known, NewRows, count, json, parse, time};
use etl_store_sql::{Fault, Result};

pub(crate) async fn submit(tx: &mut Tx<'_>, jobs: &[&NewJob]) -> Result<Answers<Submitted>> {
    let versions = known_versions(tx, jobs).await?;
    let ids: Vec<_> = jobs.iter().map(|job| job.id.to_string()).collect();
    let keys: Vec<_> = jobs.iter().filter_map(|job| key(job)).collect();
    let mut by_id = known_jobs(tx, KNOWN_IDS, &ids).await?;
    let mut by_key = known_jobs(tx, KNOWN_KEYS, &keys).await?;
    let mut rows = NewRows::default();
    let mut answers = Vec::with_capacity(jobs.len());
    for &job in jobs {
        if !versions.contains(&(job.pipeline.id, job.pipeline.version)) {
            answers.push(Err(Fault::said(
                StoreErrorKind::NotFound,
                format!(
                    "there is no version {} of pipeline {}",
                    job.pipeline.version, job.pipeline.name
                ),
            )));
            continue;
        }
        let key = key(job);
        let known = key
            .as_ref()
            .and_then(|key| by_key.get(key))
            .or_else(|| by_id.get(&job.id.to_string()));
        answers.push(if let Some(known) = known {
            Ok(known.answer(job))
        } else {
            rows.add(job).map(|()| {
                let known = Known::from(job);
                by_id.insert(job.id.to_string(), known.clone());
                if let Some(key) = key {
                    by_key.insert(key, known);
                }
                Submitted::New(job.id)
            })
        });
    }
    insert(tx, &rows).await?;
    let new = jobs.iter().copied().zip(&answers);
    let new = new.filter(|(job, answer)| matches!(answer, Ok(Submitted::New(id)) if *id == job.id));
    make_way(tx, &new.map(|(job, _)| job).collect::<Vec<_>>()).await?;
    Ok(answers)
}

/// Cancels what has to give way to new jobs, or new jobs that have to give way: `concurrency.on_limit`. One after the other,
/// as if each had come alone.
async fn make_way(tx: &mut Tx<'_>, new: &[&NewJob]) -> Result<()> {
    for (position, job) in new.iter().enumerate() {
        if !way::is_made_for(job) {
            continue;
        }
        let not_yet: Vec<_> = new[position..].iter().map(|job| job.id).collect();
        let others: Vec<String> = sqlx::query_scalar(ON_THEIR_WAY)
            .bind(job.pipeline.id.to_string())
            .bind(json(&not_yet)?)
            .fetch_all(&mut *tx.conn)
            .await?;
        let others = others
            .iter()
            .map(|id| parse(id))
            .collect::<Result<Vec<_>>>()?;
        let requests: Vec<_> = way::make(job, &others)
            .into_iter()
            .map(|(job, reason)| CancelRequest { job, reason })
            .collect();
        if !requests.is_empty() {
            lease::cancel(tx, &requests.iter().collect::<Vec<_>>()).await?;
        }
    }
    Ok(())
}

pub(crate) async fn dispatched(tx: &mut Tx<'_>, lists: &[&Vec<JobId>]) -> Result<Answers<()>> {
    let jobs: Vec<_> = lists.iter().copied().flatten().collect();
    if !jobs.is_empty() {
        sqlx::query(DISPATCHED)
            .bind(json(&jobs)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(lists.iter().map(|_| Ok(())).collect())
}

/// The versions among those that the jobs are pinned to that the catalog has.
async fn known_versions(tx: &mut Tx<'_>, jobs: &[&NewJob]) -> Result<HashSet<(PipelineId, u64)>> {
    let wanted: HashSet<_> = jobs
        .iter()
        .map(|job| (job.pipeline.id, count(job.pipeline.version)))
        .collect();
    let rows = sqlx::query(KNOWN_VERSIONS)
        .bind(json(&wanted)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    rows.iter()
        .map(|row| Ok((row.parsed(0)?, row.number(1)?)))
        .collect()
}

fn key(job: &NewJob) -> Option<String> {
    job.idempotency_key.clone()
}

/// The jobs that are there already, by what `sql` finds them by.
async fn known_jobs(
    tx: &mut Tx<'_>,
    sql: &'static str,
    names: &[String],
) -> Result<HashMap<String, Known>> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(sql)
        .bind(json(names)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    rows.iter()
        .map(|row| Ok((row.str(0)?.to_owned(), Known::of(row)?)))
        .collect()
}

async fn insert(tx: &mut Tx<'_>, rows: &NewRows) -> Result<()> {
    if rows.jobs.is_empty() {
        return Ok(());
    }
    let now = time(tx.now);
    sqlx::query(INSERT_JOBS)
        .bind(json(&rows.jobs)?)
        .bind(&now)
        .execute(&mut *tx.conn)
        .await?;
    sqlx::query(INSERT_PENDING)
        .bind(json(&rows.pending)?)
        .bind(&now)
        .execute(&mut *tx.conn)
        .await?;
    if !rows.taken.is_empty() {
        sqlx::query(INSERT_TAKEN)
            .bind(json(&rows.taken)?)
            .bind(&now)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(())
}

pub(crate) const KNOWN_VERSIONS: &str = "
    SELECT v.pipeline_id, v.version
    FROM jsonb_each(?1) e
    CROSS JOIN pipeline_versions v ON v.pipeline_id = e.value->>0 AND v.version = e.value->>1";

pub(crate) const KNOWN_IDS: &str = "
    SELECT j.id, j.id, j.pipeline_id, j.pipeline_version, j.parameters
    FROM jsonb_each(?1) e CROSS JOIN job_executions j ON j.id = e.value";

pub(crate) const KNOWN_KEYS: &str = "
    SELECT j.idempotency_key, j.id, j.pipeline_id, j.pipeline_version, j.parameters
    FROM jsonb_each(?1) e CROSS JOIN job_executions j ON j.idempotency_key = e.value";

/// The jobs of a pipeline that wait or run and whose end nobody asked for, oldest first, without those of backfills and some
/// that count as not there yet.
pub(crate) const ON_THEIR_WAY: &str = "
    SELECT id FROM (
        SELECT id, created_at, cancel_requested, trigger_type FROM job_executions INDEXED BY idx_jobs_waiting
        WHERE status IN ('pending', 'queued') AND pipeline_id = ?1
        UNION ALL
        SELECT id, created_at, cancel_requested, trigger_type FROM job_executions INDEXED BY idx_jobs_slots
        WHERE status = 'running' AND pipeline_id = ?1)
    WHERE cancel_requested IS NULL AND trigger_type <> 'backfill' AND id NOT IN (SELECT value FROM jsonb_each(?2))
    ORDER BY created_at, id";

const INSERT_JOBS: &str = "
    INSERT INTO job_executions (
        id, pipeline_id, pipeline_version, trigger_type, triggered_by, scheduled_for, parameters, context, priority,
        concurrency_limit, idempotency_key, retry_of, retry_attempt, tags, waiting_since, created_at)
    SELECT value->>'id', value->>'pipeline_id', value->>'version', value->>'trigger_type', value->>'triggered_by',
        value->>'scheduled_for', value->>'parameters', value->>'context', value->>'priority',
        value->>'concurrency_limit', value->>'idempotency_key', value->>'retry_of', value->>'retry_attempt', value->>'tags', ?2, ?2
    FROM jsonb_each(?1)";

const INSERT_PENDING: &str = "
    INSERT INTO step_executions (id, job_id, step_id, order_index, created_at)
    SELECT value->>0, value->>1, value->>2, value->>3, ?2
    FROM jsonb_each(?1)";

const INSERT_TAKEN: &str = "
    INSERT INTO step_executions (
        id, job_id, step_id, order_index, item_index, status, progress, items, item_count, output_data, artifacts,
        rows_processed, bytes_transferred, completed_at, created_at)
    SELECT value->>'id', value->>'job', value->>'step_id', value->>'step', value->>'item', 'success', 100,
        value->>'items', value->>'item_count', value->>'output_data', value->>'artifacts', value->>'rows_processed',
        value->>'bytes_transferred', ?2, ?2
    FROM jsonb_each(?1)";

pub(crate) const DISPATCHED: &str = "
    UPDATE job_executions SET status = 'queued'
    WHERE id IN (SELECT value FROM jsonb_each(?1)) AND +status = 'pending'";
