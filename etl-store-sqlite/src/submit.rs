//! Accepting jobs, and noting that the queue knows of them.

use std::collections::{HashMap, HashSet};

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{Submitted, way};
use etl_core::model::{JobId, NewJob, PipelineId, StepKey};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::error::{Fault, Result};
use crate::lease::{self, CancelRequest};
use crate::rows::{Columns, count, item_column, json, parse, parse_json, time};
use crate::writer::{Answers, Tx};

/// A known job as far as a new one can be the same.
#[derive(Debug, Clone)]
struct Known {
    id: JobId,
    pipeline: PipelineId,
    version: u64,
    parameters: Value,
}

/// A row of `job_executions` to insert.
#[derive(Debug, Serialize)]
struct JobRow {
    id: JobId,
    pipeline_id: PipelineId,
    version: i64,
    trigger_type: &'static str,
    triggered_by: String,
    scheduled_for: Option<String>,
    parameters: String,
    context: String,
    priority: u8,
    concurrency_limit: Option<u32>,
    idempotency_key: Option<String>,
    retry_of: Option<JobId>,
    retry_attempt: u32,
}

/// A pending row of `step_executions`: its id, the job, the step's id, `order_index`.
type PendingRow = (Uuid, JobId, Uuid, u32);

/// A row of `step_executions` whose result an earlier job had.
#[derive(Debug, Serialize)]
struct TakenRow {
    id: Uuid,
    job: JobId,
    step_id: Uuid,
    step: u32,
    item: i64,
    items: Option<String>,
    item_count: Option<usize>,
    output_data: String,
    artifacts: String,
    rows_processed: i64,
    bytes_transferred: i64,
}

/// The rows that a group of new jobs makes.
#[derive(Debug, Default)]
struct NewRows {
    jobs: Vec<JobRow>,
    pending: Vec<PendingRow>,
    taken: Vec<TakenRow>,
}

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
            add(&mut rows, job).map(|()| {
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
        .map(|row| {
            let known = Known {
                id: row.parsed(1)?,
                pipeline: row.parsed(2)?,
                version: row.number(3)?,
                parameters: parse_json(row.str(4)?)?,
            };
            Ok((row.str(0)?.to_owned(), known))
        })
        .collect()
}

impl From<&NewJob> for Known {
    fn from(job: &NewJob) -> Self {
        Self {
            id: job.id,
            pipeline: job.pipeline.id,
            version: job.pipeline.version,
            parameters: job.parameters.clone(),
        }
    }
}

impl Known {
    fn answer(&self, job: &NewJob) -> Submitted {
        let same = (self.pipeline, self.version) == (job.pipeline.id, job.pipeline.version)
            && self.parameters == job.parameters;
        if same {
            Submitted::Existing(self.id)
        } else {
            Submitted::KeyTaken(self.id)
        }
    }
}

fn add(rows: &mut NewRows, job: &NewJob) -> Result<()> {
    let steps = &job.document.steps;
    let pipeline = job.pipeline.id;
    let mut taken = HashSet::new();
    let mut taken_rows = Vec::with_capacity(job.taken_over.len());
    let mut items = 0;
    for result in &job.taken_over {
        let step = steps.get(result.key.step as usize).ok_or_else(|| {
            Fault::illegal("a result is taken over for a step that the pipeline does not have")
        })?;
        if !taken.insert(result.key) {
            return Err(Fault::illegal("a result is taken over twice"));
        }
        items += result.items.as_ref().map_or(0, Vec::len);
        taken_rows.push(TakenRow {
            id: result.key.execution_id(job.id),
            job: job.id,
            step_id: pipeline.step_id(&step.name),
            step: result.key.step,
            item: item_column(result.key),
            items: result.items.as_ref().map(json).transpose()?,
            item_count: result.items.as_ref().map(Vec::len),
            output_data: json(&result.output)?,
            artifacts: json(&result.artifacts)?,
            rows_processed: count(result.rows_processed),
            bytes_transferred: count(result.bytes_transferred),
        });
    }
    check_items(job, &taken, items)?;
    rows.jobs.push(JobRow {
        id: job.id,
        pipeline_id: pipeline,
        version: count(job.pipeline.version),
        trigger_type: job.trigger_type.as_str(),
        triggered_by: job.triggered_by.0.clone(),
        scheduled_for: job.scheduled_for.map(time),
        parameters: json(&job.parameters)?,
        context: json(&job.context)?,
        priority: job.priority,
        concurrency_limit: job.concurrency_limit(),
        idempotency_key: job.idempotency_key.clone(),
        retry_of: job.retry_of,
        retry_attempt: job.retry_attempt,
    });
    rows.taken.extend(taken_rows);
    rows.pending.extend(
        steps
            .iter()
            .zip(0..)
            .filter(|(_, position)| !taken.contains(&StepKey::step(*position)))
            .map(|(step, position)| {
                (
                    StepKey::step(position).execution_id(job.id),
                    job.id,
                    pipeline.step_id(&step.name),
                    position,
                )
            }),
    );
    Ok(())
}

/// A step that fanned out is taken over with all its items, and no item without its step.
fn check_items(job: &NewJob, taken: &HashSet<StepKey>, items: usize) -> Result<()> {
    let complete = job.taken_over.iter().all(|result| {
        let count = result.items.as_ref().map_or(0, Vec::len);
        (0..count as u32).all(|item| taken.contains(&StepKey::item(result.key.step, item)))
    });
    let given = taken.iter().filter(|key| key.item.is_some()).count();
    if complete && given == items {
        Ok(())
    } else {
        Err(Fault::illegal(
            "a step that fanned out is not taken over with exactly its items",
        ))
    }
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
        concurrency_limit, idempotency_key, retry_of, retry_attempt, waiting_since, created_at)
    SELECT value->>'id', value->>'pipeline_id', value->>'version', value->>'trigger_type', value->>'triggered_by',
        value->>'scheduled_for', value->>'parameters', value->>'context', value->>'priority',
        value->>'concurrency_limit', value->>'idempotency_key', value->>'retry_of', value->>'retry_attempt', ?2, ?2
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
