//! The end of what nobody will ask for any more.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{JobId, Page, PageRequest};

/// Forgets jobs that ended long ago.
///
/// # Contract
/// Between the store and whoever keeps it small, any number of them. Conformance: `etl_core::store_conformance!`.
///
/// A job may be forgotten once it is terminal and nothing refers to it that is still to be done: all of its hooks are settled, and
/// no job that is known repeats it (`retry_of`), because that one may have taken over its results, and with them its artifacts.
/// What a job leaves elsewhere (artifacts) is gone before the store forgets the job, so that whoever is interrupted finds it again.
#[async_trait]
pub trait RetentionStore: Send + Sync + Debug + 'static {
    /// Jobs that may be forgotten, that were accepted at least `older_than` ago and also ended that long ago, oldest first. Pages
    /// as in [`Journal`](super::Journal).
    async fn expired_jobs(&self, older_than: Duration, page: &PageRequest) -> Result<Page<JobId>>;

    /// Forgets those of `jobs` that may be forgotten, with their steps, checkpoints, dead letters, hooks and lines, and leaves all
    /// others alone. Answers how many it forgot. A job's idempotency key is free then; the fire that made it stays decided.
    ///
    /// It is not one change: it may be interrupted between jobs, and a job's lines may go before the job. No other writer MUST wait
    /// for all of it.
    async fn forget_jobs(&self, jobs: &[JobId]) -> Result<u64>;

    /// Jobs that ended at least `older_than` ago and whose log nobody has archived yet, by their end, oldest first; at most `limit`.
    /// Two may archive a log at the same time, so that doing it twice MUST be the same as once.
    async fn unarchived_logs(&self, older_than: Duration, limit: usize) -> Result<Vec<JobId>>;

    /// Notes that the log of a job that has ended is archived, or with an `error` that it can't be. What was noted first stays. A
    /// job that is not known, or has not ended, is left alone.
    async fn log_archived(&self, job: JobId, error: Option<&str>) -> Result<()>;
}
