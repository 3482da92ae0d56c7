//! Accepting jobs, and noting that the queue knows of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{Submitted, way};
use etl_core::model::{JobId, NewJob, PipelineId};

use crate::lease::{self, CancelRequest};
use crate::text::json;
use crate::writer::Tx;
use etl_store_sql::Answers;
use etl_store_sql::{Columns, Known, NewRows, count, parse, time};
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
    // Two that come by two processes must see each other. In one order, so that none waits for who waits for it.
    let made_for = new.iter().filter(|job| way::is_made_for(job));
    let pipelines: BTreeSet<String> = made_for.map(|job| job.pipeline.id.to_string()).collect();
    for pipeline in pipelines {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(pipeline)
            .execute(&mut *tx.conn)
            .await?;
    }
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

const KNOWN_VERSIONS: &str = "
    SELECT v.pipeline_id::text, v.version
    FROM jsonb_array_elements($1::jsonb) e
    JOIN pipeline_versions v ON v.pipeline_id = (e->>0)::uuid AND v.version = (e->>1)::bigint";

const KNOWN_IDS: &str = "
    SELECT j.id::text, j.id::text, j.pipeline_id::text, j.pipeline_version, j.parameters::text
    FROM job_executions j WHERE j.id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v)";

const KNOWN_KEYS: &str = "
    SELECT j.idempotency_key, j.id::text, j.pipeline_id::text, j.pipeline_version, j.parameters::text
    FROM job_executions j WHERE j.idempotency_key IN (SELECT jsonb_array_elements_text($1::jsonb))";

/// The jobs of a pipeline that wait or run and whose end nobody asked for, oldest first, without some that count as not
/// there yet.
const ON_THEIR_WAY: &str = "
    SELECT j.id::text FROM job_executions j
    WHERE j.status IN ('pending', 'queued', 'running') AND j.pipeline_id = $1::uuid AND j.cancel_requested IS NULL
        AND j.trigger_type <> 'backfill' AND j.id NOT IN (SELECT v::uuid FROM jsonb_array_elements_text($2::jsonb) v)
    ORDER BY j.created_at, j.id";

const INSERT_JOBS: &str = "
    INSERT INTO job_executions (
        id, pipeline_id, pipeline_version, trigger_type, triggered_by, scheduled_for, parameters, context, priority,
        concurrency_limit, idempotency_key, retry_of, retry_attempt, tags, waiting_since, created_at)
    SELECT id, pipeline_id, version, trigger_type, triggered_by, scheduled_for, parameters::jsonb, context::jsonb, priority,
        concurrency_limit, idempotency_key, retry_of, retry_attempt, tags, $2::timestamptz, $2::timestamptz
    FROM jsonb_to_recordset($1::jsonb) AS e(
        id uuid, pipeline_id uuid, version bigint, trigger_type text, triggered_by text, scheduled_for timestamptz,
        parameters text, context text, priority int, concurrency_limit bigint, idempotency_key text, retry_of uuid,
        retry_attempt bigint, tags text[])";

const INSERT_PENDING: &str = "
    INSERT INTO step_executions (id, job_id, step_id, order_index, created_at)
    SELECT (e->>0)::uuid, (e->>1)::uuid, (e->>2)::uuid, (e->>3)::int, $2::timestamptz
    FROM jsonb_array_elements($1::jsonb) e";

const INSERT_TAKEN: &str = "
    INSERT INTO step_executions (
        id, job_id, step_id, order_index, item_index, status, progress, items, item_count, output_data, artifacts,
        rows_processed, bytes_transferred, completed_at, created_at)
    SELECT id, job, step_id, step, item, 'success', 100, items::jsonb, item_count, output_data::jsonb, artifacts::jsonb,
        rows_processed, bytes_transferred, $2::timestamptz, $2::timestamptz
    FROM jsonb_to_recordset($1::jsonb) AS e(
        id uuid, job uuid, step_id uuid, step int, item int, items text, item_count int, output_data text, artifacts text,
        rows_processed bigint, bytes_transferred bigint)";

const DISPATCHED: &str = "
    UPDATE job_executions SET status = 'queued'
    WHERE status = 'pending' AND id IN (
        SELECT id FROM job_executions
        WHERE id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v) AND status = 'pending'
        ORDER BY id FOR NO KEY UPDATE)";
