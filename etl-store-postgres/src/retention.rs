//! The end of jobs: a few at a time, their lines first. Beside the writer, whose groups must not wait for it.

use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::store::{Result as StoreResult, RetentionStore};
use etl_core::model::{JobId, Page, PageRequest};
use etl_store_sql::{Columns, Fault, Result, archive_state, expired_page, time};

use crate::PostgresStore;
use crate::journal::job_place;
use crate::text::json;

/// Jobs that one transaction forgets.
const BATCH: usize = 20;

/// Lines that one transaction deletes.
const LINES: i64 = 2_000;

#[async_trait]
impl RetentionStore for PostgresStore {
    async fn expired_jobs(
        &self,
        older_than: Duration,
        page: &PageRequest,
    ) -> StoreResult<Page<JobId>> {
        let expired = self.list_expired(older_than, page).await;
        expired.map_err(|fault| fault.of("expired_jobs"))
    }

    async fn forget_jobs(&self, jobs: &[JobId]) -> StoreResult<u64> {
        let mut forgotten = 0;
        for jobs in jobs.chunks(BATCH) {
            let batch = self.forget(jobs).await;
            forgotten += batch.map_err(|fault| fault.of("forget_jobs"))?;
        }
        Ok(forgotten)
    }

    async fn unarchived_logs(&self, older_than: Duration, limit: usize) -> StoreResult<Vec<JobId>> {
        let waiting = async {
            let rows = sqlx::query(UNARCHIVED)
                .bind(time(self.now().await? - older_than))
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
        let noted = sqlx::query(ARCHIVED)
            .bind(job.to_string())
            .bind(archive_state(error))
            .execute(self.readers())
            .await;
        match noted {
            Ok(_) => Ok(()),
            Err(error) => Err(Fault::from(error).of("log_archived")),
        }
    }
}

impl PostgresStore {
    async fn list_expired(&self, older_than: Duration, page: &PageRequest) -> Result<Page<JobId>> {
        let after = page.cursor.as_ref().map(job_place).transpose()?;
        let (at, id) = after.unzip();
        let limit = page.limit.clamp(1, 500);
        let rows = sqlx::query(EXPIRED)
            .bind(time(self.now().await? - older_than))
            .bind(at)
            .bind(id)
            .bind(limit as i64 + 1)
            .fetch_all(self.readers())
            .await?;
        expired_page(&rows, limit)
    }

    async fn forget(&self, jobs: &[JobId]) -> Result<u64> {
        let rows = sqlx::query(FORGETTABLE)
            .bind(json(jobs)?)
            .fetch_all(self.readers())
            .await?;
        let jobs: Vec<JobId> = rows
            .iter()
            .map(|row| row.parsed(0))
            .collect::<Result<_>>()?;
        for job in &jobs {
            loop {
                let deleted = sqlx::query(DROP_LINES)
                    .bind(job.to_string())
                    .bind(LINES)
                    .execute(self.readers())
                    .await?;
                if deleted.rows_affected() < LINES as u64 {
                    break;
                }
            }
        }
        let forgotten = sqlx::query(FORGET)
            .bind(json(&jobs)?)
            .execute(self.readers())
            .await?;
        Ok(forgotten.rows_affected())
    }
}

/// What nothing refers to that is still to be done.
macro_rules! may_be_forgotten {
    () => {
        "j.status IN ('success', 'failed', 'cancelled', 'timeout')
            AND NOT EXISTS (SELECT 1 FROM job_hooks h WHERE h.job_id = j.id AND h.status = 'pending')
            AND NOT EXISTS (SELECT 1 FROM job_executions r WHERE r.retry_of = j.id)"
    };
}

const EXPIRED: &str = concat!(
    "SELECT j.id::text, etl_text(j.created_at) FROM job_executions j
     WHERE j.created_at <= $1::timestamptz AND j.completed_at <= $1::timestamptz
        AND ($2::timestamptz IS NULL OR (j.created_at, j.id) > ($2::timestamptz, $3::uuid)) AND ",
    may_be_forgotten!(),
    " ORDER BY j.created_at, j.id LIMIT $4"
);

const FORGETTABLE: &str = concat!(
    "SELECT j.id::text FROM job_executions j WHERE j.id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v) AND ",
    may_be_forgotten!()
);

const DROP_LINES: &str = "
    DELETE FROM job_logs WHERE job_id = $1::uuid AND seq <= (
        SELECT max(seq) FROM (SELECT seq FROM job_logs WHERE job_id = $1::uuid ORDER BY seq LIMIT $2) l)";

/// Everything else goes with it. In the order of ids, and without those that somebody else is about to forget.
const FORGET: &str = concat!(
    "DELETE FROM job_executions WHERE id IN (
        SELECT j.id FROM job_executions j
        WHERE j.id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v) AND ",
    may_be_forgotten!(),
    " ORDER BY j.id FOR UPDATE OF j SKIP LOCKED)"
);

const UNARCHIVED: &str = "
    SELECT j.id::text FROM job_executions j
    WHERE j.completed_at IS NOT NULL AND j.log_archive IS NULL AND j.completed_at <= $1::timestamptz
    ORDER BY j.completed_at, j.id LIMIT $2";

const ARCHIVED: &str = "
    UPDATE job_executions SET log_archive = $2
    WHERE id = $1::uuid AND completed_at IS NOT NULL AND log_archive IS NULL";
