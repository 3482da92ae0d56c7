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
/// Between the runtime's services and a database. Conformance: `etl_core::store_conformance!`.
///
/// - Leases are measured by the store's own clock, and `created_at`, a job's `started_at`, and every time that the canceller
///   or the reaper writes are its too. What a commit writes carries the commit's `at`. A lease has run out once the clock
///   has reached its end.
/// - Leases MUST go on over a restart of the store. Only a store that one process at a time can open may end them all when it is
///   opened, because whoever held them is gone.
/// - «Oldest first» is by `created_at`, then by id.
/// - Every operation MUST become true as a whole or not at all, and what it has answered MUST survive a restart of a store
///   that is more than memory.
/// - A terminal job and a settled step execution MUST NOT change again, whoever asks.
/// - A job's log is its event stream ([`LogEvent`](crate::model::LogEvent)). A commit's `lines` become true with it, as by
///   [`Journal::append`](super::Journal::append), and none of them without it. What a store moves by itself (a claim, the end
///   of a job that nobody has, a job that is taken from its worker) it tells in the transaction of the move, by
///   [`LogLine::of_own_move`](crate::model::LogLine::of_own_move), once for each move of a job but the one to `queued`.
/// - JSON, text and numbers up to `i64::MAX` MUST come back equal to what was given.
#[async_trait]
pub trait JobStore: Send + Sync + Debug + 'static {
    /// Remembers a job as `pending` with one `pending` row for each step. Steps that are taken over are `success` from the
    /// start, settled when the job was accepted, with no start of their own.
    ///
    /// A job whose `idempotency_key` or whose id is known MUST NOT be made again: the answer names the known one, and tells
    /// by pipeline version and parameters whether it is the same job.
    ///
    /// If its pipeline's `concurrency.on_limit` is not to let it wait, it or others are cancelled in the same transaction, as
    /// by [`cancel`](Self::cancel): those that [`way::make`](super::way::make) names. One that is skipped is `New` all the
    /// same, and `cancelled` from the start: whoever triggered it can look why.
    ///
    /// # Errors
    /// `NotFound` if the pipeline version is not in the catalog (one of a removed pipeline is); asked before anything else.
    /// `Illegal` if `taken_over` names a step that the document does not have, names one twice, or does not have all items
    /// of a step that fanned out.
    async fn submit(&self, job: NewJob) -> Result<Submitted>;

    /// `pending` jobs that were accepted or last handed back at least `older_than` ago, highest priority first, then oldest.
    async fn waiting(&self, older_than: Duration, limit: usize) -> Result<Vec<Hint>>;

    /// Moves those of `jobs` that are still `pending` to `queued`, and leaves all others alone.
    async fn dispatched(&self, jobs: &[JobId]) -> Result<()>;

    /// Claims `pending` and `queued` jobs, highest priority first, then oldest: `running`, a lease of `ttl`, and a fence
    /// larger than any given for the job before. Answers in the order of claiming.
    ///
    /// - Two claims MUST NOT get the same job, and a claim MUST NOT wait for another claimer.
    /// - A job is passed over while as many jobs of its pipeline (in any version) are `running` as its own
    ///   [`concurrency_limit`](NewJob::concurrency_limit) says; those behind it are not held up.
    /// - `started_at` is the time of the first claim and stays.
    async fn claim(&self, want: ClaimRequest) -> Result<Vec<Claimed>>;

    /// Renews leases by `ttl` from now, and says of each how it stands, in the order of `leases`. A lease that has run out
    /// but that nobody took is renewed. A lease is of the worker that claimed it.
    async fn renew(
        &self,
        worker: WorkerId,
        leases: &[LeaseRef],
        ttl: Duration,
    ) -> Result<Vec<LeaseState>>;

    /// Applies commits in order, and answers in the order of `batch`. Each holds or fails as a whole, and a lost one MUST NOT
    /// disturb the others. Many jobs commit at the same time, each for itself: a store that pays for durability SHOULD make
    /// what is under way together true at once (group commit). The first that fits says what becomes of a commit:
    ///
    /// 1. The job is not there: `Lost` with `cancelled`. Its fence is not the last claim's: `Lost`.
    /// 2. Its `seq` was applied under this fence (the last one or one before): `AlreadyApplied`, wherever the job is now.
    /// 3. The job is not `running`: `Lost`. (A lease that has run out but that nobody took is as good as any.)
    /// 4. Its `seq` is not the next: `Illegal`. A gap is a bug of ours, not somebody's loss.
    /// 5. Its changes are made in order, and it is `Applied`.
    ///
    /// What a change does beside its own words:
    ///
    /// - A step's first move to `running` sets its `started_at`; its move to a terminal state sets `completed_at`.
    /// - `due_at` is kept while a step is `retrying` and forgotten with any other move.
    /// - A checkpoint is kept over attempts and forgotten when its step execution is settled.
    /// - A job that moves is without lease; one that is handed back waits from now on, its step rows as they are. If its end
    ///   was asked for, it MUST NOT wait for another owner: it ends at once, as by [`cancel`](Self::cancel).
    ///
    /// # Errors
    /// `Illegal`, with nothing of the whole batch applied, for: a transition that the table does not have or does not give to
    /// the owner; a step execution that the job does not have; a checkpoint of one that is not `running`, or with a
    /// number that is not larger than the last; a second dead letter for a step execution or a second hook for a position;
    /// a gap in `seq`, or a `seq` of 0.
    async fn commit(&self, batch: &[Commit]) -> Result<Vec<Verdict>>;

    /// Ends a `pending` or `queued` job at once, as `cancelled`: its `running` and `retrying` steps (of a job that was handed
    /// back) become `cancelled` and its `pending` ones `skipped` as `job_ended`. Asks the owner of a running one to end it; the
    /// first reason stays. Leaves an ended one alone. Answers where the job is now.
    ///
    /// # Errors
    /// `NotFound` if there is no such job.
    async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus>;

    /// Takes jobs whose lease has run out from their owner, those that ran out first before others: back to `pending`, waiting
    /// from now on, with their step rows as they are; or, if their end was asked for, `cancelled`, with their steps ended as
    /// by [`cancel`](Self::cancel). Answers those that it moved.
    ///
    /// That the lease has run out MUST be looked at in the same write that moves the job.
    async fn reap(&self, want: ReapRequest) -> Result<Vec<JobId>>;
}

/// What became of a submitted job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It is a job now.
    New(JobId),
    /// The key or the id, and the body, were seen before: that job.
    Existing(JobId),
    /// The key or the id was seen before with another body (pipeline version or parameters): nothing was made. Of a key and
    /// an id that were seen with different jobs the key's job counts.
    KeyTaken(JobId),
}

impl Submitted {
    /// The job that it is about.
    pub const fn job(self) -> JobId {
        match self {
            Self::New(job) | Self::Existing(job) | Self::KeyTaken(job) => job,
        }
    }
}

/// Which jobs a worker wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Who asks.
    pub worker: WorkerId,
    /// Only these, in the same order; `None` for whatever waits.
    pub jobs: Option<Vec<JobId>>,
    /// How many at most.
    pub limit: usize,
    /// How long the lease is.
    pub ttl: Duration,
    /// Only jobs of pipelines that have one of these tags, in the version that the job is pinned to; empty for any. Such a
    /// claim passes over whatever else waits, so it MAY cost as much as there is.
    pub tags: Vec<String>,
}

impl ClaimRequest {
    /// Whether a job of a pipeline with these tags is wanted.
    pub fn wants(&self, tags: &[String]) -> bool {
        self.tags.is_empty() || tags.iter().any(|tag| self.tags.contains(tag))
    }
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
