//! The store's handle: the execution protocol as requests to the writer, and readers of their own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::Clock;
use etl_core::contract::store::{
    ClaimRequest, Claimed, JobStore, LeaseState, ReapRequest, Result as StoreResult, Submitted,
};
use etl_core::model::{
    Commit, Hint, JobId, JobStatus, LeaseRef, NewJob, Timestamp, Verdict, WorkerId,
};
use etl_store_sql::{Columns, Fault, Request, Result, WriterHandle, time};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::catalog::Documents;
use crate::claim;
use crate::connect;
use crate::lease::{CancelRequest, RenewRequest};
use crate::writer::Group;

/// A store in a PostgreSQL database, which any number of processes may share.
///
/// Every answer to a write is given when the transaction is committed, and one transaction carries what many callers of this
/// process asked for at the same time. How durable that is the server decides (`synchronous_commit`, on by default). Times are
/// the database's (`clock_timestamp()`), so that processes with wrong clocks agree on leases.
///
/// Text that PostgreSQL can't hold is changed: the character NUL is kept as U+FFFD.
///
/// It needs a Tokio runtime, and belongs to the one that it was opened on. Close it with [`close`](Self::close); when it is
/// dropped instead, or the process is killed, nothing that was answered is lost.
#[derive(Debug)]
pub struct PostgresStore {
    writer: WriterHandle<Group>,
    readers: PgPool,
    /// For notifications: those who listen keep a connection each.
    notices: PgPool,
    schema: Option<String>,
    documents: Arc<Documents>,
    clock: Option<Arc<dyn Clock>>,
    log_days: u32,
    /// Sees to the partitions of logs.
    tending: Option<JoinHandle<()>>,
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        if let Some(tending) = &self.tending {
            tending.abort();
        }
    }
}

impl PostgresStore {
    pub(crate) fn new(
        writer: WriterHandle<Group>,
        readers: PgPool,
        notices: PgPool,
        schema: Option<String>,
        documents: Arc<Documents>,
        clock: Option<Arc<dyn Clock>>,
        (log_days, tending): (u32, Option<JoinHandle<()>>),
    ) -> Self {
        Self {
            writer,
            readers,
            notices,
            schema,
            documents,
            clock,
            log_days,
            tending,
        }
    }

    /// Finishes what was asked before and lets go of the database. Every later call answers `Unavailable`. Closing twice is
    /// harmless.
    pub async fn close(&self) {
        if let Some(tending) = &self.tending {
            tending.abort();
        }
        self.writer.close().await;
        self.readers.close().await;
        self.notices.close().await;
    }

    pub(crate) fn log_days(&self) -> u32 {
        self.log_days
    }

    pub(crate) fn notices(&self) -> &PgPool {
        &self.notices
    }

    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    pub(crate) fn readers(&self) -> &PgPool {
        &self.readers
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    pub(crate) async fn ask<R: Request<Group>>(&self, request: R) -> StoreResult<R::Output> {
        self.writer.ask(request).await
    }

    pub(crate) async fn now(&self) -> Result<Timestamp> {
        match &self.clock {
            Some(clock) => Ok(clock.now()),
            None => connect::now(&mut *self.readers.acquire().await?).await,
        }
    }
}

#[async_trait]
impl JobStore for PostgresStore {
    async fn submit(&self, job: NewJob) -> StoreResult<Submitted> {
        self.ask(job).await
    }

    async fn waiting(&self, older_than: Duration, limit: usize) -> StoreResult<Vec<Hint>> {
        let waiting = async {
            let rows = sqlx::query(claim::PENDING)
                .bind(time(self.now().await? - older_than))
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
        self.ask(request).await
    }

    async fn reap(&self, want: ReapRequest) -> StoreResult<Vec<JobId>> {
        self.ask(want).await
    }
}
