//! The end of jobs: a few at a time, their lines first.

use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::store::{Result as StoreResult, RetentionStore};
use etl_core::model::{JobId, Page, PageRequest};
use etl_store_sql::{Answers, Columns, Fault, Result, expired_page, json, time};

use crate::SqliteStore;
use crate::journal::job_place;
use crate::writer::Tx;

/// Jobs that one transaction forgets.
pub(crate) const BATCH: usize = 20;

/// Forgets those of these jobs that may be forgotten, at most [`BATCH`]. Answers how many.
#[derive(Debug)]
pub(crate) struct ForgetJobs(Vec<JobId>);

#[async_trait]
impl RetentionStore for SqliteStore {
    async fn expired_jobs(
        &self,
        older_than: Duration,
        page: &PageRequest,
    ) -> StoreResult<Page<JobId>> {
        let expired = self.list_expired(older_than, page).await;
        expired.map_err(|fault| fault.of("expired_jobs"))
    }

    async fn forget_jobs(&self, jobs: &[JobId]) -> StoreResult<u64> {
        self.check_serves("forget_jobs")?;
        let mut forgotten = 0;
        for jobs in jobs.chunks(BATCH) {
            let jobs = self.forgettable(jobs).await;
            let jobs = jobs.map_err(|fault| fault.of("forget_jobs"))?;
            for job in &jobs {
                self.drop_lines(*job).await?;
            }
            forgotten += self.ask(ForgetJobs(jobs)).await?;
        }
        Ok(forgotten)
    }
}

impl SqliteStore {
    async fn list_expired(&self, older_than: Duration, page: &PageRequest) -> Result<Page<JobId>> {
        let after = match &page.cursor {
            Some(cursor) => job_place(cursor)?,
            None => Default::default(),
        };
        let limit = page.limit.clamp(1, 500);
        let rows = sqlx::query(EXPIRED)
            .bind(time(self.now() - older_than))
            .bind(after.0)
            .bind(after.1)
            .bind(limit as i64 + 1)
            .fetch_all(self.readers())
            .await?;
        expired_page(&rows, limit)
    }

    async fn forgettable(&self, jobs: &[JobId]) -> Result<Vec<JobId>> {
        let rows = sqlx::query(FORGETTABLE)
            .bind(json(jobs)?)
            .fetch_all(self.readers())
            .await?;
        rows.iter().map(|row| row.parsed(0)).collect()
    }
}

pub(crate) async fn forget(tx: &mut Tx<'_>, requests: &[&ForgetJobs]) -> Result<Answers<u64>> {
    let mut answers = Vec::with_capacity(requests.len());
    for ForgetJobs(jobs) in requests {
        let forgotten = sqlx::query(FORGET)
            .bind(json(jobs)?)
            .execute(&mut *tx.conn)
            .await?;
        answers.push(Ok::<_, Fault>(forgotten.rows_affected()));
    }
    Ok(answers)
}

/// What nothing refers to that is still to be done.
macro_rules! may_be_forgotten {
    () => {
        "j.status IN ('success', 'failed', 'cancelled', 'timeout')
            AND NOT EXISTS (SELECT 1 FROM job_hooks h WHERE h.job_id = j.id AND h.status = 'pending')
            AND NOT EXISTS (SELECT 1 FROM job_executions r WHERE r.retry_of = j.id)"
    };
}

pub(crate) const EXPIRED: &str = concat!(
    "SELECT j.id, j.created_at FROM job_executions j INDEXED BY idx_jobs_created
     WHERE j.created_at <= ?1 AND (j.created_at, j.id) > (?2, ?3) AND j.completed_at <= ?1 AND ",
    may_be_forgotten!(),
    " ORDER BY j.created_at, j.id LIMIT ?4"
);

pub(crate) const FORGETTABLE: &str = concat!(
    "SELECT j.id FROM jsonb_each(?1) e CROSS JOIN job_executions j ON j.id = e.value WHERE ",
    may_be_forgotten!()
);

/// Everything else goes with it.
pub(crate) const FORGET: &str = concat!(
    "DELETE FROM job_executions AS j WHERE j.id IN (SELECT value FROM jsonb_each(?1)) AND ",
    may_be_forgotten!()
);
