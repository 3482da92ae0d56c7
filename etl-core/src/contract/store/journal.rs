//! The journal: log lines, and all reading of jobs by people and programs.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{
    DeadLetter, HookRow, JobFilter, JobId, JobRecord, LogLine, Page, PageRequest, StepRecord,
};

/// Keeps log lines and answers readers.
///
/// # Contract
/// Between the store and whoever looks at jobs. Conformance: `etl_core::store_conformance!`.
///
/// - Pages follow keys: what was there from the first page to the last MUST be in exactly one of them, whatever is added
///   between two. A page has at most `limit` items, which counts as 1 to 500.
/// - A cursor that the list did not give is `NotFound`.
#[async_trait]
pub trait Journal: Send + Sync + Debug + 'static {
    /// Adds lines in order; gives each its `seq`, from 1 for each job and without gaps, also when many append at once. Lines
    /// of a job that does not exist are dropped; lines of an ended one are kept.
    async fn append(&self, lines: &[LogLine]) -> Result<()>;

    /// At most `limit` lines of a job with a `seq` after `after_seq`, in order.
    async fn lines(&self, job: JobId, after_seq: u64, limit: usize) -> Result<Vec<LogLine>>;

    /// One job. `None` if there is none.
    async fn job(&self, job: JobId) -> Result<Option<JobRecord>>;

    /// Jobs, newest first: by `created_at`, then by id.
    async fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobRecord>>;

    /// The step executions of a job, by position, the step itself before its items. Nothing if there is no such job.
    async fn steps(&self, job: JobId, page: &PageRequest) -> Result<Page<StepRecord>>;

    /// The steps of a job that failed for good, by position.
    async fn dead_letters(&self, job: JobId) -> Result<Vec<DeadLetter>>;

    /// What is to be done after a job's end, by position.
    async fn hooks(&self, job: JobId) -> Result<Vec<HookRow>>;
}
