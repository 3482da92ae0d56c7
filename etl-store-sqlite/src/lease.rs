//! Leases and their ends: renewing, cancelling, and taking jobs from owners that are gone.

use std::collections::HashMap;
use std::time::Duration;

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{Audited, LeaseState, ReapRequest, audited};
use etl_core::model::{AuditEntry, Fence, JobId, JobStatus, LeaseRef, Timestamp, WorkerId};
use serde::Serialize;

use crate::journal;
use crate::steps;
use crate::writer::Tx;
use etl_store_sql::Answers;
use etl_store_sql::{Columns, json, time};
use etl_store_sql::{Fault, Result};

/// A worker's wish to keep its leases.
#[derive(Debug)]
pub(crate) struct RenewRequest {
    pub(crate) worker: WorkerId,
    pub(crate) leases: Vec<LeaseRef>,
    pub(crate) ttl: Duration,
}

/// Somebody's wish that a job ends.
#[derive(Debug)]
pub(crate) struct CancelRequest {
    pub(crate) job: JobId,
    pub(crate) reason: String,
}

impl Audited<JobStatus> for CancelRequest {
    fn entry(&self, status: &JobStatus) -> Option<AuditEntry> {
        audited::job_cancelled(self.job, &self.reason, *status)
    }
}

/// A job as far as its lease is concerned.
struct LeaseRow {
    status: JobStatus,
    fence: Fence,
    worker: Option<WorkerId>,
    cancel: bool,
    started_at: Option<Timestamp>,
}

pub(crate) async fn renew(
    tx: &mut Tx<'_>,
    requests: &[&RenewRequest],
) -> Result<Answers<Vec<LeaseState>>> {
    let ids: Vec<_> = requests
        .iter()
        .flat_map(|request| &request.leases)
        .map(|lease| lease.job)
        .collect();
    let rows = read(tx, &ids).await?;
    let mut kept = HashMap::new();
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let until = time(tx.now + request.ttl);
        let states = request
            .leases
            .iter()
            .map(|lease| match rows.get(&lease.job) {
                Some(row)
                    if row.status == JobStatus::Running
                        && row.fence == lease.fence
                        && row.worker == Some(request.worker) =>
                {
                    kept.insert(lease.job, until.clone());
                    if row.cancel {
                        LeaseState::Cancel
                    } else {
                        LeaseState::Held
                    }
                }
                _ => LeaseState::Lost,
            });
        answers.push(Ok(states.collect()));
    }
    if !kept.is_empty() {
        let kept: Vec<_> = kept.into_iter().collect();
        sqlx::query(RENEW)
            .bind(json(&kept)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(answers)
}

pub(crate) async fn cancel(
    tx: &mut Tx<'_>,
    requests: &[&CancelRequest],
) -> Result<Answers<JobStatus>> {
    let ids: Vec<_> = requests.iter().map(|request| request.job).collect();
    let rows = read(tx, &ids).await?;
    let mut ends: HashMap<JobId, End> = HashMap::new();
    let mut asked: HashMap<JobId, String> = HashMap::new();
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let reason = request.reason.clone();
        answers.push(match rows.get(&request.job) {
            None => Err(Fault::said(
                StoreErrorKind::NotFound,
                "there is no such job",
            )),
            Some(row) => Ok(match row.status {
                JobStatus::Pending | JobStatus::Queued => {
                    ends.entry(request.job).or_insert_with(|| {
                        End::new(request.job, row.started_at, tx.now, Some(reason))
                    });
                    JobStatus::Cancelled
                }
                JobStatus::Running => {
                    asked.entry(request.job).or_insert(reason);
                    JobStatus::Running
                }
                ended => ended,
            }),
        });
    }
    end(tx, &ends.into_values().collect::<Vec<_>>()).await?;
    if !asked.is_empty() {
        let asked: Vec<_> = asked.into_iter().collect();
        sqlx::query(ASK)
            .bind(json(&asked)?)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(answers)
}

pub(crate) async fn reap(
    tx: &mut Tx<'_>,
    requests: &[&ReapRequest],
) -> Result<Answers<Vec<JobId>>> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(Ok(reap_one(tx, request).await?));
    }
    Ok(answers)
}

async fn reap_one(tx: &mut Tx<'_>, request: &ReapRequest) -> Result<Vec<JobId>> {
    let limit = i64::try_from(request.limit).unwrap_or(i64::MAX);
    let expired: Vec<String> = match request.job {
        None => {
            sqlx::query_scalar(EXPIRED)
                .bind(time(tx.now))
                .bind(limit)
                .fetch_all(&mut *tx.conn)
                .await?
        }
        Some(job) => {
            sqlx::query_scalar(EXPIRED_JOB)
                .bind(time(tx.now))
                .bind(limit)
                .bind(job.to_string())
                .fetch_all(&mut *tx.conn)
                .await?
        }
    };
    let expired = expired
        .iter()
        .map(|id| etl_store_sql::parse(id))
        .collect::<Result<Vec<JobId>>>()?;
    if expired.is_empty() {
        return Ok(expired);
    }
    let rows = read(tx, &expired).await?;
    let (mut ends, mut back) = (Vec::new(), Vec::new());
    for job in &expired {
        match rows.get(job) {
            Some(row) if row.cancel => ends.push(End::new(*job, row.started_at, tx.now, None)),
            _ => back.push(*job),
        }
    }
    end(tx, &ends).await?;
    if !back.is_empty() {
        sqlx::query(HAND_BACK)
            .bind(json(&back)?)
            .bind(time(tx.now))
            .execute(&mut *tx.conn)
            .await?;
        let back = back.iter().map(|job| (*job, JobStatus::Pending, None));
        journal::tell(tx, &back.collect::<Vec<_>>()).await?;
    }
    Ok(expired)
}

/// The end of a job that its owner does not make.
#[derive(Debug, Serialize)]
struct End {
    job: JobId,
    reason: Option<String>,
    duration_ms: Option<i64>,
    #[serde(skip)]
    started_at: Option<Timestamp>,
}

impl End {
    fn new(
        job: JobId,
        started_at: Option<Timestamp>,
        now: Timestamp,
        reason: Option<String>,
    ) -> Self {
        Self {
            job,
            reason,
            duration_ms: started_at.map(|started| etl_store_sql::millis(started, now)),
            started_at,
        }
    }
}

/// Ends jobs that were handed back in this transaction and whose end was asked for.
pub(crate) async fn end_handed_back(
    tx: &mut Tx<'_>,
    jobs: &[(JobId, Option<Timestamp>)],
) -> Result<()> {
    let now = tx.now;
    let ends = jobs
        .iter()
        .map(|(job, started_at)| End::new(*job, *started_at, now, None));
    end(tx, &ends.collect::<Vec<_>>()).await
}

async fn end(tx: &mut Tx<'_>, ends: &[End]) -> Result<()> {
    if ends.is_empty() {
        return Ok(());
    }
    let jobs: Vec<_> = ends.iter().map(|end| end.job).collect();
    steps::settle_open(tx, &jobs).await?;
    sqlx::query(END)
        .bind(json(ends)?)
        .bind(time(tx.now))
        .execute(&mut *tx.conn)
        .await?;
    let ended = ends.iter();
    let ended = ended.map(|end| (end.job, JobStatus::Cancelled, end.started_at));
    journal::tell(tx, &ended.collect::<Vec<_>>()).await
}

async fn read(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<HashMap<JobId, LeaseRow>> {
    let rows = sqlx::query(READ)
        .bind(json(jobs)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    rows.iter()
        .map(|row| {
            let lease = LeaseRow {
                status: row.parsed(1)?,
                fence: Fence(row.number(2)?),
                worker: row.opt_parsed(3)?,
                cancel: row.opt_str(4)?.is_some(),
                started_at: row.opt_parsed(5)?,
            };
            Ok((row.parsed(0)?, lease))
        })
        .collect()
}

pub(crate) const READ: &str = "
    SELECT j.id, j.status, j.fence, j.worker_id, j.cancel_requested, j.started_at
    FROM jsonb_each(?1) e CROSS JOIN job_executions j ON j.id = e.value";

pub(crate) const RENEW: &str = "
    UPDATE job_executions SET lease_expires_at = value->>1
    FROM jsonb_each(?1)
    WHERE job_executions.id = value->>0";

pub(crate) const ASK: &str = "
    UPDATE job_executions SET cancel_requested = coalesce(cancel_requested, value->>1)
    FROM jsonb_each(?1)
    WHERE job_executions.id = value->>0";

pub(crate) const EXPIRED: &str = "
    SELECT id FROM job_executions INDEXED BY idx_jobs_leases
    WHERE status = 'running' AND lease_expires_at <= ?1
    ORDER BY lease_expires_at, id LIMIT ?2";

pub(crate) const EXPIRED_JOB: &str = "
    SELECT id FROM job_executions
    WHERE id = ?3 AND +status = 'running' AND lease_expires_at <= ?1 LIMIT ?2";

pub(crate) const HAND_BACK: &str = "
    UPDATE job_executions SET status = 'pending', lease_expires_at = NULL, waiting_since = ?2
    WHERE id IN (SELECT value FROM jsonb_each(?1)) AND +status = 'running'";

pub(crate) const END: &str = "
    UPDATE job_executions SET
        status = 'cancelled', lease_expires_at = NULL, completed_at = ?2, duration_ms = value->>'duration_ms',
        cancel_requested = coalesce(cancel_requested, value->>'reason')
    FROM jsonb_each(?1)
    WHERE job_executions.id = value->>'job'";
