//! Which jobs wait, and giving them to workers.

use std::collections::{HashMap, HashSet};

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{ClaimRequest, Claimed};
use etl_core::model::{
    Fence, JobId, JobSnapshot, JobStatus, LeaseRef, PipelineId, PipelineRef, StepSnapshot,
    Timestamp, WorkerId,
};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;

use crate::journal;
use crate::writer::Tx;
use etl_store_sql::Answers;
use etl_store_sql::{Columns, json, step_snapshot, time};
use etl_store_sql::{Fault, Result};

/// More candidates than are wanted, so that a few that turn out to be taken don't cost another look.
const SPARE: usize = 16;

/// Before the place of the highest priority.
const FIRST: i64 = -1000;

/// A job that waits.
#[derive(Debug, Clone)]
struct Candidate {
    id: JobId,
    pipeline: PipelineId,
    limit: Option<i64>,
    tags: Vec<String>,
    /// Its place in the order of claiming.
    place: (i64, String, String),
}

/// What a claim makes true of a job.
#[derive(Debug, Serialize)]
struct ClaimWrite {
    job: JobId,
    worker: WorkerId,
    until: String,
    #[serde(skip)]
    expires_at: Timestamp,
    #[serde(skip)]
    request: usize,
}

/// What the claims of a group have taken so far.
#[derive(Debug, Default)]
struct Taken {
    jobs: HashSet<JobId>,
    /// How many jobs of a pipeline were taken.
    by_pipeline: HashMap<PipelineId, i64>,
    /// How many of a pipeline ran before, of those that were asked about.
    before: HashMap<PipelineId, i64>,
    /// Pipelines that have no room for a job of this limit.
    full: HashSet<(PipelineId, i64)>,
    writes: Vec<ClaimWrite>,
}

pub(crate) async fn claim(
    tx: &mut Tx<'_>,
    requests: &[&ClaimRequest],
) -> Result<Answers<Vec<Claimed>>> {
    let named = named(tx, requests).await?;
    let mut taken = Taken::default();
    for (position, request) in requests.iter().enumerate() {
        let mut room = request.limit;
        if let Some(jobs) = &request.jobs {
            let mut candidates: Vec<_> = jobs.iter().filter_map(|job| named.get(job)).collect();
            candidates.sort_by(|a, b| a.place.cmp(&b.place));
            for candidate in candidates {
                if room > 0 && taken.take(tx, candidate, position, request).await? {
                    room -= 1;
                }
            }
        } else {
            whatever_waits(tx, &mut taken, position, request, room).await?;
        }
    }
    write(tx, requests, taken.writes).await
}

/// Walks the waiting jobs in order until there is no room, passing over those of full pipelines.
async fn whatever_waits(
    tx: &mut Tx<'_>,
    taken: &mut Taken,
    position: usize,
    request: &ClaimRequest,
    mut room: usize,
) -> Result<()> {
    let mut after = (FIRST, String::new(), String::new());
    while room > 0 {
        let wanted = room.saturating_add(SPARE).min(1000);
        let full: Vec<_> = taken.full.iter().collect();
        let rows = sqlx::query(WAITING)
            .bind(after.0)
            .bind(&after.1)
            .bind(&after.2)
            .bind(json(&full)?)
            .bind(wanted as i64)
            .bind(some_tags(request)?)
            .fetch_all(&mut *tx.conn)
            .await?;
        for row in &rows {
            let candidate = candidate(row)?;
            if room > 0 && taken.take(tx, &candidate, position, request).await? {
                room -= 1;
            }
            after = candidate.place;
        }
        if rows.len() < wanted {
            break;
        }
    }
    Ok(())
}

impl Taken {
    /// Takes a job for a request, unless it is taken or its pipeline is full.
    async fn take(
        &mut self,
        tx: &mut Tx<'_>,
        candidate: &Candidate,
        position: usize,
        request: &ClaimRequest,
    ) -> Result<bool> {
        let pipeline = candidate.pipeline;
        if self.jobs.contains(&candidate.id) || !request.wants(&candidate.tags) {
            return Ok(false);
        }
        if let Some(limit) = candidate.limit {
            let before = self.ran_before(tx, pipeline).await?;
            let running = before + self.by_pipeline.get(&pipeline).copied().unwrap_or(0);
            if running >= limit {
                self.full.insert((pipeline, limit));
                return Ok(false);
            }
        }
        *self.by_pipeline.entry(pipeline).or_default() += 1;
        self.jobs.insert(candidate.id);
        let expires_at = tx.now + request.ttl;
        self.writes.push(ClaimWrite {
            job: candidate.id,
            worker: request.worker,
            until: time(expires_at),
            expires_at,
            request: position,
        });
        Ok(true)
    }

    async fn ran_before(&mut self, tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<i64> {
        if let Some(before) = self.before.get(&pipeline) {
            return Ok(*before);
        }
        let before = sqlx::query_scalar(RUNNING)
            .bind(pipeline.to_string())
            .fetch_one(&mut *tx.conn)
            .await?;
        self.before.insert(pipeline, before);
        Ok(before)
    }
}

/// The tags that a request asks for, if it asks for any.
fn some_tags(request: &ClaimRequest) -> Result<Option<String>> {
    let tags = (!request.tags.is_empty()).then_some(&request.tags);
    tags.map(json).transpose()
}

/// The jobs that requests name and that wait.
async fn named(tx: &mut Tx<'_>, requests: &[&ClaimRequest]) -> Result<HashMap<JobId, Candidate>> {
    let jobs: Vec<_> = requests
        .iter()
        .filter_map(|request| request.jobs.as_ref())
        .flatten()
        .collect();
    if jobs.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(NAMED)
        .bind(json(&jobs)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    rows.iter()
        .map(|row| candidate(row).map(|candidate| (candidate.id, candidate)))
        .collect()
}

/// A row of [`WAITING`] or [`NAMED`].
fn candidate(row: &SqliteRow) -> Result<Candidate> {
    Ok(Candidate {
        id: row.parsed(2)?,
        pipeline: row.parsed(3)?,
        limit: row.opt_int(4)?,
        tags: row.json(5)?.unwrap_or_default(),
        // The largest priority comes first.
        place: (-row.int(0)?, row.str(1)?.into(), row.str(2)?.into()),
    })
}

/// Makes the claims true and reads what the workers need.
async fn write(
    tx: &mut Tx<'_>,
    requests: &[&ClaimRequest],
    writes: Vec<ClaimWrite>,
) -> Result<Answers<Vec<Claimed>>> {
    let mut answers: Vec<Vec<Claimed>> = requests.iter().map(|_| Vec::new()).collect();
    if !writes.is_empty() {
        let rows = sqlx::query(CLAIM)
            .bind(json(&writes)?)
            .bind(time(tx.now))
            .fetch_all(&mut *tx.conn)
            .await?;
        let mut by_job: HashMap<JobId, &SqliteRow> = HashMap::with_capacity(rows.len());
        for row in &rows {
            by_job.insert(row.parsed(0)?, row);
        }
        let started = writes.iter();
        let started = started.map(|write| (write.job, JobStatus::Running, None));
        journal::tell(tx, &started.collect::<Vec<_>>()).await?;
        let mut steps = begun(tx, &writes).await?;
        for write in &writes {
            let row = by_job.get(&write.job).ok_or_else(|| {
                Fault::said(
                    StoreErrorKind::Corrupt,
                    "a waiting job could not be claimed",
                )
            })?;
            let claimed = match steps.remove(&write.job).unwrap_or(Ok(Vec::new())) {
                Ok(steps) => claimed(tx, row, write, steps).await,
                Err(fault) => Err(fault),
            };
            match claimed {
                Ok(claimed) => answers[write.request].push(claimed),
                // Others must not wait behind it. Its lease runs out, and then it is tried again.
                Err(fault) if fault.kind == StoreErrorKind::Corrupt => {
                    tracing::error!(job_id = %write.job, error = ?fault, "a waiting job can't be read and was passed over");
                }
                Err(fault) => return Err(fault),
            }
        }
    }
    Ok(answers.into_iter().map(Ok).collect())
}

/// The step rows past `pending` of the claimed jobs, or why those of a job can't be read.
async fn begun(
    tx: &mut Tx<'_>,
    writes: &[ClaimWrite],
) -> Result<HashMap<JobId, Result<Vec<StepSnapshot>>>> {
    let jobs: Vec<_> = writes.iter().map(|write| write.job).collect();
    let rows = sqlx::query(BEGUN)
        .bind(json(&jobs)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    let mut steps: HashMap<JobId, Result<Vec<StepSnapshot>>> = HashMap::new();
    for row in &rows {
        let of_job = steps.entry(row.parsed(0)?).or_insert(Ok(Vec::new()));
        match (&mut *of_job, step_snapshot(row)) {
            (Ok(of_job), Ok((_, snapshot))) => of_job.push(snapshot),
            (Ok(_), Err(fault)) => *of_job = Err(fault),
            (Err(_), _) => {}
        }
    }
    Ok(steps)
}

async fn claimed(
    tx: &mut Tx<'_>,
    row: &SqliteRow,
    write: &ClaimWrite,
    steps: Vec<StepSnapshot>,
) -> Result<Claimed> {
    let id: PipelineId = row.parsed(2)?;
    let version = row.number(3)?;
    let document = tx.documents.read(tx.conn, id, version).await?;
    Ok(Claimed {
        lease: LeaseRef {
            job: write.job,
            fence: Fence(row.number(1)?),
        },
        expires_at: write.expires_at,
        job: JobSnapshot {
            id: write.job,
            pipeline: PipelineRef {
                id,
                namespace: document.namespace.as_str().into(),
                name: document.name.as_str().into(),
                version,
            },
            document,
            trigger_type: row.parsed(4)?,
            scheduled_for: row.opt_parsed(5)?,
            parameters: row.json::<serde_json::Value>(6)?.unwrap_or_default().into(),
            context: row.json(7)?.unwrap_or_default(),
            retry_attempt: row.number(8)?,
            started_at: row.parsed(9)?,
            cancel_requested: row.owned(10)?,
            steps,
        },
    })
}

/// What waits for the dispatcher.
pub(crate) const PENDING: &str = "
    SELECT id, priority FROM job_executions INDEXED BY idx_jobs_pending
    WHERE status = 'pending' AND waiting_since <= ?1
    ORDER BY priority DESC, created_at, id LIMIT ?2";

/// What waits for a claimer, after a place in the order. The priority is told as its negative.
pub(crate) const WAITING: &str = "
    SELECT priority, created_at, id, pipeline_id, concurrency_limit, tags FROM job_executions INDEXED BY idx_jobs_waiting
    WHERE status IN ('pending', 'queued')
        AND priority <= -?1 AND (priority < -?1 OR (created_at, id) > (?2, ?3))
        AND (concurrency_limit IS NULL
            OR (pipeline_id, concurrency_limit) NOT IN (SELECT value->>0, value->>1 FROM jsonb_each(?4)))
        AND (?6 IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) t JOIN json_each(?6) w ON t.value = w.value))
    ORDER BY priority DESC, created_at, id LIMIT ?5";

pub(crate) const NAMED: &str = "
    SELECT j.priority, j.created_at, j.id, j.pipeline_id, j.concurrency_limit, j.tags
    FROM jsonb_each(?1) e CROSS JOIN job_executions j ON j.id = e.value
    WHERE j.status IN ('pending', 'queued')";

pub(crate) const RUNNING: &str = "
    SELECT count(*) FROM job_executions INDEXED BY idx_jobs_slots
    WHERE pipeline_id = ?1 AND status = 'running'";

pub(crate) const CLAIM: &str = "
    UPDATE job_executions SET
        status = 'running', worker_id = value->>'worker', fence = fence + 1, commit_seq = 0,
        lease_expires_at = value->>'until', started_at = coalesce(started_at, ?2)
    FROM jsonb_each(?1)
    WHERE job_executions.id = value->>'job'
    RETURNING id, fence, pipeline_id, pipeline_version, trigger_type, scheduled_for, parameters, context,
        retry_attempt, started_at, cancel_requested";

pub(crate) const BEGUN: &str = "
    SELECT s.job_id, s.order_index, s.item_index, s.status, s.attempt, s.lost, s.next_run_at, s.items, s.output_data,
        s.artifacts, s.rows_processed, s.bytes_transferred, s.skip_reason, c.seq, c.state,
        s.returned
    FROM step_executions s INDEXED BY idx_steps_begun
    LEFT JOIN step_checkpoints c
        ON c.job_id = s.job_id AND c.order_index = s.order_index AND c.item_index = s.item_index
    WHERE s.job_id IN (SELECT value FROM jsonb_each(?1)) AND s.status <> 'pending'
    ORDER BY s.job_id, s.order_index, s.item_index";
