//! The end of old logs. A file has no partitions that could be dropped: lines are deleted a few at a time, so that whoever writes
//! in between waits for no more than that.

use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::Clock;
use etl_core::contract::store::Result as StoreResult;
use etl_core::model::{JobId, Timestamp};
use etl_store_sql::{Answers, Columns, Fault, Result, WriterHandle, time};
use sqlx::SqlitePool;
use tokio::task::JoinHandle;

use crate::writer::{Group, Tx};

/// How often it is seen to.
const EVERY: Duration = Duration::from_hours(1);

/// Lines that one transaction deletes of a job.
pub(crate) const BATCH: u32 = 2_000;

/// Jobs that are looked at at once.
const PAGE: u32 = 200;

const DAY: Duration = Duration::from_hours(24);

/// What deletes old lines: a reader, and the way to the writer.
#[derive(Debug, Clone)]
pub(crate) struct LogDays {
    pub(crate) writer: WriterHandle<Group>,
    pub(crate) readers: SqlitePool,
    pub(crate) clock: Arc<dyn Clock>,
    /// Days that are kept, today not counted.
    pub(crate) keep: u32,
}

/// Deletes the first lines of a job. Answers how many.
#[derive(Debug)]
pub(crate) struct DropLines(JobId);

impl LogDays {
    /// Deletes the lines of jobs that ended before the days that are kept. Answers how many lines that were.
    pub(crate) async fn tend(&self) -> StoreResult<u64> {
        let before = time(self.first_kept());
        let (mut after, mut deleted) = (String::new(), 0);
        loop {
            let jobs = self.logged(&after).await;
            let jobs = jobs.map_err(|fault| fault.of("log days"))?;
            for (job, ended_at) in &jobs {
                if ended_at.as_ref().is_some_and(|at| *at < before) {
                    deleted += drop_all_lines(&self.writer, *job).await?;
                }
            }
            match jobs.last() {
                Some((job, _)) => after = job.to_string(),
                None => break,
            }
        }
        if deleted > 0 {
            tracing::info!(lines = deleted, "old logs deleted");
        }
        Ok(deleted)
    }

    /// Sees to it until it is aborted.
    pub(crate) fn keep_tending(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                if let Err(error) = self.tend().await {
                    tracing::warn!(%error, "old logs not deleted, trying again in an hour");
                }
                tokio::time::sleep(EVERY).await;
            }
        })
    }

    fn first_kept(&self) -> Timestamp {
        let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
        let today = self.clock.now().as_micros().div_euclid(day);
        Timestamp::from_micros((today - i64::from(self.keep)).saturating_mul(day))
    }

    /// The next jobs that have lines, and when they ended.
    async fn logged(&self, after: &str) -> Result<Vec<(JobId, Option<String>)>> {
        let rows = sqlx::query(LOGGED)
            .bind(after)
            .bind(PAGE)
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| Ok((row.parsed(0)?, row.owned(1)?)))
            .collect()
    }
}

/// Deletes the lines of a job, so that others may write in between. Answers how many that were.
pub(crate) async fn drop_all_lines(writer: &WriterHandle<Group>, job: JobId) -> StoreResult<u64> {
    let mut deleted = 0;
    loop {
        let batch = writer.ask(DropLines(job)).await?;
        deleted += batch;
        if batch < u64::from(BATCH) {
            return Ok(deleted);
        }
    }
}

pub(crate) async fn drop_lines(tx: &mut Tx<'_>, jobs: &[&DropLines]) -> Result<Answers<u64>> {
    let mut answers = Vec::with_capacity(jobs.len());
    for DropLines(job) in jobs {
        let dropped = sqlx::query(DROP_LINES)
            .bind(job.to_string())
            .bind(BATCH)
            .execute(&mut *tx.conn)
            .await?;
        answers.push(Ok::<_, Fault>(dropped.rows_affected()));
    }
    Ok(answers)
}

/// From one job that has lines to the next, without looking at their lines.
pub(crate) const LOGGED: &str = "
    WITH RECURSIVE k (id) AS (
        SELECT min(job_id) FROM job_logs WHERE job_id > ?1
        UNION ALL
        SELECT (SELECT min(l.job_id) FROM job_logs l WHERE l.job_id > k.id) FROM k WHERE k.id IS NOT NULL
        LIMIT ?2
    )
    SELECT j.id, j.completed_at FROM k CROSS JOIN job_executions j ON j.id = k.id";

pub(crate) const DROP_LINES: &str = "
    DELETE FROM job_logs WHERE job_id = ?1 AND seq IN (SELECT seq FROM job_logs WHERE job_id = ?1 ORDER BY seq LIMIT ?2)";
