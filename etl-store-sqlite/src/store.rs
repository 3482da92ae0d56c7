//! The store's handle: who may do what through it, and the execution protocol as requests to the writer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::store::{
    ClaimRequest, Claimed, JobStore, LeaseState, ReapRequest, Result as StoreResult, Submitted,
};
use etl_core::contract::{Clock, StoreErrorKind};
use etl_core::model::{
    Commit, Hint, JobId, JobStatus, LeaseRef, NewJob, Timestamp, Verdict, WorkerId,
};
use sqlx::SqlitePool;
use tokio::task::JoinHandle;

use crate::catalog::Documents;
use crate::claim;
use crate::lease::{CancelRequest, RenewRequest};
use crate::log_days::{self, LogDays};
use crate::writer::Group;
use etl_store_sql::Fault;
use etl_store_sql::{Columns, time};
use etl_store_sql::{Request, WriterHandle};

/// A store in one SQLite file.
///
/// Every answer to a write is given when the write is on the disk (`synchronous=FULL`), and one transaction carries what
/// many callers asked for at the same time. One process at a time is the file's server
/// ([`open`](Self::open)) and runs its jobs; others may read it, manage what it remembers, submit and cancel jobs
/// ([`open_shared`](Self::open_shared)).
///
/// It needs a Tokio runtime, and belongs to the one that it was opened on. Close it with [`close`](Self::close); when it
/// is dropped instead, or the process is killed, nothing that was answered is lost.
#[derive(Debug)]
pub struct SqliteStore {
    writer: WriterHandle<Group>,
    readers: SqlitePool,
    documents: Arc<Documents>,
    clock: Arc<dyn Clock>,
    access: Access,
    /// Sees to the end of old logs.
    tending: Option<JoinHandle<()>>,
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if let Some(tending) = &self.tending {
            tending.abort();
        }
    }
}

/// What a handle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything.
    Server,
    /// Everything but running jobs and firing schedules, beside a server.
    Shared,
}

impl SqliteStore {
    pub(crate) fn new(
        writer: WriterHandle<Group>,
        readers: SqlitePool,
        documents: Arc<Documents>,
        clock: Arc<dyn Clock>,
        access: Access,
    ) -> Self {
        Self {
            writer,
            readers,
            documents,
            clock,
            access,
            tending: None,
        }
    }

    /// The same store, which from now on deletes log lines of jobs that ended before the last `keep` days (in UTC, today not
    /// counted): now and every hour, a few lines at a time. Without it lines are kept for ever. Beside a file's server it does
    /// nothing: that is the server's to do.
    pub fn keep_logs(mut self, keep: u32) -> Self {
        if self.access == Access::Server && self.tending.is_none() {
            self.tending = Some(self.log_days(keep).keep_tending());
        }
        self
    }

    /// What [`keep_logs`](Self::keep_logs) does every hour, for who can't wait. Answers how many lines were deleted.
    ///
    /// # Errors
    /// `Unavailable` if the file can't be written to; `InUse` beside its server.
    pub async fn tend_log_days(&self, keep: u32) -> StoreResult<u64> {
        self.check_serves("log days")?;
        self.log_days(keep).tend().await
    }

    fn log_days(&self, keep: u32) -> LogDays {
        LogDays {
            writer: self.writer.clone(),
            readers: self.readers.clone(),
            clock: Arc::clone(&self.clock),
            keep,
        }
    }

    /// Deletes the lines of a job, a few at a time.
    pub(crate) async fn drop_lines(&self, job: JobId) -> StoreResult<u64> {
        log_days::drop_all_lines(&self.writer, job).await
    }

    /// Finishes what was asked before, folds the write-ahead log into the file and lets go of it. Every later call answers
    /// `Unavailable`. Closing twice is harmless.
    pub async fn close(&self) {
        if let Some(tending) = &self.tending {
            tending.abort();
        }
        self.readers.close().await;
        self.writer.close().await;
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Asks the writer, beside the file's server, too.
    pub(crate) async fn ask_beside<R: Request<Group>>(&self, request: R) -> StoreResult<R::Output> {
        self.writer.ask(request).await
    }

    /// Asks the writer, as the file's server.
    pub(crate) async fn ask<R: Request<Group>>(&self, request: R) -> StoreResult<R::Output> {
        self.check_serves(R::OP)?;
        self.writer.ask(request).await
    }

    pub(crate) fn check_serves(&self, op: &'static str) -> StoreResult<()> {
        if self.access == Access::Shared {
            let message = "this handle is for looking, managing and submitting; the database's server runs jobs and fires schedules";
            return Err(Fault::said(StoreErrorKind::InUse, message).of(op));
        }
        Ok(())
    }
}

#[async_trait]
impl JobStore for SqliteStore {
    async fn submit(&self, job: NewJob) -> StoreResult<Submitted> {
        // Also beside the server, which finds it when it next asks for what waits.
        self.ask_beside(job).await
    }

    async fn waiting(&self, older_than: Duration, limit: usize) -> StoreResult<Vec<Hint>> {
        let waiting = async {
            let rows = sqlx::query(claim::PENDING)
                .bind(time(self.clock.now() - older_than))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&self.readers)
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(Hint {
                        job: row.parsed(0)?,
                        priority: row.number(1)?,
                    })
                })
                .collect::<Result<_, Fault>>()
        };
        waiting.await.map_err(|fault: Fault| fault.of("waiting"))
    }

    async fn dispatched(&self, jobs: &[JobId]) -> StoreResult<()> {
        if jobs.is_empty() {
            return Ok(());
        }
        self.ask(jobs.to_vec()).await
    }

    async fn claim(&self, want: ClaimRequest) -> StoreResult<Vec<Claimed>> {
        self.ask(want).await
    }

    async fn renew(
        &self,
        worker: WorkerId,
        leases: &[LeaseRef],
        ttl: Duration,
    ) -> StoreResult<Vec<LeaseState>> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(RenewRequest {
            worker,
            leases: leases.to_vec(),
            ttl,
        })
        .await
    }

    async fn commit(&self, batch: &[Commit]) -> StoreResult<Vec<Verdict>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(batch.to_vec()).await
    }

    async fn cancel(&self, job: JobId, reason: &str) -> StoreResult<JobStatus> {
        let request = CancelRequest {
            job,
            reason: reason.into(),
        };
        self.ask_beside(request).await
    }

    async fn reap(&self, want: ReapRequest) -> StoreResult<Vec<JobId>> {
        self.ask(want).await
    }
}
