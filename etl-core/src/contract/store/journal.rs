//! The journal: log lines, and all reading of jobs by people and programs.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{JobFilter, JobId, JobRecord, LogLine, Page, PageRequest, StepRecord};

/// Keeps log lines and answers readers.
#[async_trait]
pub trait Journal: Send + Sync + Debug + 'static {
    /// Adds lines in order; gives each its `seq`, from 1 for each job and without gaps. Lines of a job that does not exist
    /// are dropped.
    async fn append(&self, lines: &[LogLine]) -> Result<()>;

    /// At most `limit` lines of a job with a `seq` after `after_seq`, in order.
    async fn lines(&self, job: JobId, after_seq: u64, limit: usize) -> Result<Vec<LogLine>>;

    /// One job. `None` if there is none.
    async fn job(&self, job: JobId) -> Result<Option<JobRecord>>;

    /// Jobs, newest first.
    async fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobRecord>>;

    /// The step executions of a job, by position, the step itself before its items. `after` is the last key of the page
    /// before.
    async fn steps(&self, job: JobId, page: &PageRequest) -> Result<Page<StepRecord>>;
}
