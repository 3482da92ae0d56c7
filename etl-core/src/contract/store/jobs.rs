//! The execution protocol: eight operations, and no ninth for a new feature (that is a `Change`).

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{
    Commit, Hint, JobId, JobSnapshot, JobStatus, LeaseRef, NewJob, Timestamp, Verdict, WorkerId,
};

/// Remembers jobs, and guards every change of one by its fence.
///
/// # Contract
/// Between the runtime's services and a database. All times are the store's own clock's.
#[async_trait]
pub trait JobStore: Send + Sync + Debug + 'static {
    /// Remembers a job as `pending` with one `pending` row for each step, in one transaction. Steps that are taken over
    /// are `success` from the start. The pipeline version MUST be in the catalog, else `NotFound`.
    async fn submit(&self, job: NewJob) -> Result<Submitted>;

    /// `pending` jobs that were accepted or last handed back at least `older_than` ago, highest priority first, then oldest.
    async fn waiting(&self, older_than: Duration, limit: usize) -> Result<Vec<Hint>>;

    /// Moves those of `jobs` that are still `pending` to `queued`.
    async fn dispatched(&self, jobs: &[JobId]) -> Result<()>;

    /// Claims waiting jobs: `running`, a lease of `ttl`, and a fence larger than any given for the job before.
    /// A job at its pipeline's `concurrency.limit` is not claimable. MUST NOT wait for another claimer.
    async fn claim(&self, want: ClaimRequest) -> Result<Vec<Claimed>>;

    /// Renews leases by `ttl` from now, and says of each how it stands, in the order of `leases`. A lease that has run out
    /// but that nobody took is renewed.
    async fn renew(
        &self,
        worker: WorkerId,
        leases: &[LeaseRef],
        ttl: Duration,
    ) -> Result<Vec<LeaseState>>;

    /// Each commit holds or fails as a whole, and a lost one MUST NOT disturb the others. Applied if the job is `running`
    /// under the same fence and the commit's `seq` is the next; the last applied `seq` of the current fence again is
    /// `AlreadyApplied`, also when it ended the job. Answers in the order of `batch`.
    ///
    /// # Errors
    /// `Illegal` for a transition that the table does not have, with nothing of the whole batch applied.
    async fn commit(&self, batch: &[Commit]) -> Result<Vec<Verdict>>;

    /// Ends a `pending` or `queued` job at once (its open steps `skipped`); asks the owner of a running one to end it;
    /// leaves an ended one alone. Answers where the job is now. `NotFound` if there is none.
    async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus>;

    /// Takes jobs whose lease has run out from their owner: back to `pending`, or, if their end was asked for,
    /// `cancelled` with their running and retrying steps `cancelled` and the pending ones `skipped`. Answers those that it moved.
    async fn reap(&self, want: ReapRequest) -> Result<Vec<JobId>>;
}

/// What became of a submitted job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It is a job now.
    New(JobId),
    /// The key and the body were seen before: that job.
    Existing(JobId),
    /// The key was seen before with another body (pipeline version or parameters): nothing was made.
    KeyTaken(JobId),
}

/// Which jobs a worker wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who asks.
    pub worker: WorkerId,
    /// Only these; `None` for whatever waits, highest priority first, then oldest.
    pub jobs: Option<Vec<JobId>>,
    /// How many at most.
    pub limit: usize,
    /// How long the lease is.
    pub ttl: Duration,
}

/// A job in a worker's hands.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// The right to change it.
    pub lease: LeaseRef,
    /// When the lease runs out.
    pub expires_at: Timestamp,
    /// The job as it is.
    pub job: JobSnapshot,
}

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Renewed.
    Held,
    /// Somebody else has the job, or it has ended.
    Lost,
    /// Renewed, and the job's end is asked for.
    Cancel,
}

/// Which jobs the reaper looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReapRequest {
    /// Only this one; `None` for all.
    pub job: Option<JobId>,
    /// How many at most.
    pub limit: usize,
}
