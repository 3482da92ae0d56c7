//! The end of jobs: a few at a time, their lines first.

use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::store::{Result as StoreResult, RetentionStore};
use etl_core::model::{JobId, Page, PageRequest};
use etl_store_sql::{Answers, Columns, Fault, Result, archive_state, expired_page, json, time};

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

    async fn unarchived_logs(&self, older_than: Duration, limit: usize) -> StoreResult<Vec<JobId>> {
        let waiting = async {
            let rows = sqlx::query(UNARCHIVED)
                .bind(time(self.now() - older_than))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(self.readers())
                .await?;
            rows.iter().map(|row| row.parsed(0)).collect::<Result<_>>()
        };
        waiting
            .await
            .map_err(|fault: Fault| fault.of("unarchived_logs"))
    }

    async fn log_archived(&self, job: JobId, error: Option<&str>) -> StoreResult<()> {
        let state = archive_state(error);
        self.ask(LogArchived { job, state }).await
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

/// Notes what became of the archive of a job's log.
#[derive(Debug)]
pub(crate) struct LogArchived {
    job: JobId,
    state: String,
}

pub(crate) async fn archived(tx: &mut Tx<'_>, notes: &[&LogArchived]) -> Result<Answers<()>> {
    for note in notes {
        sqlx::query(ARCHIVED)
            .bind(note.job.to_string())
            .bind(&note.state)
            .execute(&mut *tx.conn)
            .await?;
    }
    Ok(notes.iter().map(|_| Ok(())).collect())
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

pub(crate) const UNARCHIVED: &str = "
    SELECT id FROM job_executions INDEXED BY idx_jobs_unarchived
    WHERE completed_at IS NOT NULL AND log_archive IS NULL AND completed_at <= ?1 ORDER BY completed_at, id LIMIT ?2";

pub(crate) const ARCHIVED: &str = "UPDATE job_executions SET log_archive = ?2 WHERE id = ?1 AND completed_at IS NOT NULL AND log_archive IS NULL";
