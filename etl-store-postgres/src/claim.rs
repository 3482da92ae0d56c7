//! Which jobs wait, and giving them to workers.

use std::collections::{HashMap, HashSet};

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{ClaimRequest, Claimed};
use etl_core::model::{
    Fence, JobId, JobSnapshot, JobStatus, LeaseRef, LogLine, PipelineId, PipelineRef, StepSnapshot,
    Timestamp, WorkerId,
};
use serde::Serialize;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::text::json;
use crate::writer::Tx;
use etl_store_sql::Answers;
use etl_store_sql::Result;
use etl_store_sql::{Columns, step_snapshot, time};

/// More candidates than are wanted, so that a few that turn out to be taken don't cost another look.
const SPARE: usize = 16;

/// How often a claim looks again when others were faster. Then it takes what it has: the next look is never far.
const ROUNDS: usize = 4;

/// Before the place of the highest priority.
const FIRST: i64 = -1000;
const FIRST_TIME: &str = "0001-01-01T00:00:00Z";

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
    let mut answers: Vec<Vec<Claimed>> = requests.iter().map(|_| Vec::new()).collect();
    let named = named(tx, requests).await?;
    let mut taken = Taken::default();
    for round in 0..ROUNDS {
        for (position, request) in requests.iter().enumerate() {
            let mut room = request.limit.saturating_sub(answers[position].len());
            match &request.jobs {
                Some(jobs) if round == 0 => {
                    let mut candidates: Vec<_> =
                        jobs.iter().filter_map(|job| named.get(job)).collect();
                    candidates.sort_by(|a, b| a.place.cmp(&b.place));
                    for candidate in candidates {
                        if room > 0 && taken.take(tx, candidate, position, request).await? {
                            room -= 1;
                        }
                    }
                }
                Some(_) => {}
                None => whatever_waits(tx, &mut taken, position, request, room).await?,
            }
        }
        let writes = std::mem::take(&mut taken.writes);
        let wanted = writes.len();
        if write(tx, &mut answers, writes).await? == wanted {
            break;
        }
        // Others were faster with some: there may be more behind those.
    }
    Ok(answers.into_iter().map(Ok).collect())
}

/// Walks the waiting jobs in order until there is no room, passing over those of full pipelines.
async fn whatever_waits(
    tx: &mut Tx<'_>,
    taken: &mut Taken,
    position: usize,
    request: &ClaimRequest,
    mut room: usize,
) -> Result<()> {
    let mut after = (FIRST, FIRST_TIME.to_owned(), Uuid::nil().to_string());
    while room > 0 {
        let wanted = room.saturating_add(SPARE).min(1000);
        let full: Vec<_> = taken.full.iter().collect();
        let rows = sqlx::query(WAITING)
            .bind(after.0)
            .bind(&after.1)
            .bind(&after.2)
            .bind(json(&full)?)
            .bind(wanted as i64)
            .bind((!request.tags.is_empty()).then_some(&request.tags))
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
            if !self.may_count(tx, pipeline).await? {
                self.full.insert((pipeline, limit));
                return Ok(false);
            }
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

    /// Whether nobody else is giving out places of this pipeline, until this transaction ends. Otherwise two processes would
    /// count the same free place; who comes second finds the rest at its next look.
    async fn may_count(&mut self, tx: &mut Tx<'_>, pipeline: PipelineId) -> Result<bool> {
        if self.before.contains_key(&pipeline) {
            return Ok(true);
        }
        let got = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 1))")
            .bind(pipeline.to_string())
            .fetch_one(&mut *tx.conn)
            .await?;
        Ok(got)
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
fn candidate(row: &PgRow) -> Result<Candidate> {
    Ok(Candidate {
        id: row.parsed(2)?,
        pipeline: row.parsed(3)?,
        limit: row.opt_int(4)?,
        tags: row.try_get(5)?,
        // The largest priority comes first.
        place: (-row.int(0)?, row.str(1)?.into(), row.str(2)?.into()),
    })
}

/// Makes the claims true and reads what the workers need. Answers how many were claimed.
async fn write(
    tx: &mut Tx<'_>,
    answers: &mut [Vec<Claimed>],
    writes: Vec<ClaimWrite>,
) -> Result<usize> {
    let mut count = 0;
    if !writes.is_empty() {
        // What it tells of each job is the same of all.
        let nobody = JobId(Uuid::nil());
        let started = LogLine::of_own_move(nobody, JobStatus::Running, None, tx.now);
        let rows = sqlx::query(CLAIM)
            .bind(json(&writes)?)
            .bind(time(tx.now))
            .bind(started.level.as_str())
            .bind(started.message)
            .bind(json(&started.metadata)?)
            .fetch_all(&mut *tx.conn)
            .await?;
        let mut by_job: HashMap<JobId, &PgRow> = HashMap::with_capacity(rows.len());
        for row in &rows {
            by_job.insert(row.parsed(0)?, row);
        }
        count = by_job.len();
        let mut steps = begun(tx, &writes).await?;
        for write in &writes {
            // Without a row another process was faster.
            let Some(row) = by_job.get(&write.job) else {
                continue;
            };
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
    Ok(count)
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
    row: &PgRow,
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

/// What waits for the dispatcher. In an order, a bare name is that of what is answered: of the text, not of the column that the
/// index knows.
pub(crate) const PENDING: &str = "
    SELECT j.id::text, j.priority::bigint FROM job_executions j
    WHERE j.status = 'pending' AND j.waiting_since <= $1::timestamptz
    ORDER BY j.priority DESC, j.created_at, j.id LIMIT $2";

/// What waits for a claimer, after a place in the order. The priority is told as its negative.
const WAITING: &str = "
    SELECT j.priority::bigint, etl_text(j.created_at), j.id::text, j.pipeline_id::text, j.concurrency_limit, j.tags
    FROM job_executions j
    WHERE j.status IN ('pending', 'queued')
        AND j.priority <= -$1 AND (j.priority < -$1 OR (j.created_at, j.id) > ($2::timestamptz, $3::uuid))
        AND (j.concurrency_limit IS NULL OR NOT EXISTS (
            SELECT 1 FROM jsonb_array_elements($4::jsonb) f
            WHERE (f->>0)::uuid = j.pipeline_id AND (f->>1)::bigint = j.concurrency_limit))
        AND ($6::text[] IS NULL OR j.tags && $6::text[])
    ORDER BY j.priority DESC, j.created_at, j.id LIMIT $5";

const NAMED: &str = "
    SELECT j.priority::bigint, etl_text(j.created_at), j.id::text, j.pipeline_id::text, j.concurrency_limit, j.tags
    FROM job_executions j
    WHERE j.id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v) AND j.status IN ('pending', 'queued')";

const RUNNING: &str = "
    SELECT count(*) FROM job_executions WHERE pipeline_id = $1::uuid AND status = 'running'";

const CLAIM: &str = "
    WITH claimed AS (UPDATE job_executions j SET
        status = 'running', log_last_seq = j.log_last_seq + 1, worker_id = e.worker, fence = j.fence + 1, commit_seq = 0,
        lease_expires_at = e.until, started_at = coalesce(j.started_at, $2::timestamptz)
    FROM jsonb_to_recordset($1::jsonb) AS e(job uuid, worker text, until timestamptz),
        (SELECT id FROM job_executions
         WHERE id IN (SELECT (v->>'job')::uuid FROM jsonb_array_elements($1::jsonb) v) AND status IN ('pending', 'queued')
         ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) free
    WHERE j.id = e.job AND j.id = free.id
    RETURNING j.*),
    told AS (INSERT INTO job_logs (job_id, seq, timestamp, level, message, metadata)
        SELECT id, log_last_seq, $2::timestamptz, $3, $4, $5::jsonb FROM claimed)
    SELECT j.id::text, j.fence, j.pipeline_id::text, j.pipeline_version, j.trigger_type, etl_text(j.scheduled_for),
        j.parameters::text, j.context::text, j.retry_attempt, etl_text(j.started_at), j.cancel_requested
    FROM claimed j";

const BEGUN: &str = "
    SELECT s.job_id::text, s.order_index::bigint, s.item_index::bigint, s.status, s.attempt::bigint, s.lost::bigint,
        etl_text(s.next_run_at), s.items::text, s.output_data::text, s.artifacts::text, s.rows_processed, s.bytes_transferred,
        s.skip_reason, c.seq, c.state::text, s.returned::bigint
    FROM step_executions s
    LEFT JOIN step_checkpoints c
        ON c.job_id = s.job_id AND c.order_index = s.order_index AND c.item_index = s.item_index
    WHERE s.job_id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v) AND s.status <> 'pending'
    ORDER BY s.job_id, s.order_index, s.item_index";
