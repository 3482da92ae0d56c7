//! The days of the logs: partitions for those to come, and an end for those that are old.
//!
//! Making and dropping a partition needs locks that nobody else may hold, also of `job_executions`, which lines refer to; and
//! whoever waits for such a lock has everybody else wait behind him. So each day has a transaction of its own that waits for a
//! moment and gives up: somebody who reads for hours (a backup) makes no writer wait for longer than that, and a day that can't
//! be had now is had later. `DETACH PARTITION … CONCURRENTLY` is no way out: PostgreSQL refuses it beside a default partition,
//! and without that a line of a day that nobody has made would be lost.

use std::time::Duration;

use etl_core::contract::StoreError;
use etl_store_sql::{Fault, Result};
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use tokio::task::JoinHandle;

use crate::{PostgresStore, connect};

/// Days of logs that are kept, if nobody says otherwise.
pub(crate) const KEPT: u32 = 90;

/// Days for which there is a partition before they come. Lines of a day without one are kept in a partition of their own.
const AHEAD: i32 = 2;

/// How often it is seen to: often enough that two days ahead are always there, also if it fails for a day.
const EVERY: Duration = Duration::from_hours(1);

/// The longest that writers wait for a partition that is made or dropped.
const PATIENCE: &str = "SET LOCAL lock_timeout = '100ms'";

/// How often a day is tried before it is left for the next time, with pauses in between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Lines of days without a partition that are deleted at once.
const BATCH: i64 = 2_000;

impl PostgresStore {
    /// Makes the partitions of today and the next two days, and drops those older than [`Options::log_days`](crate::Options).
    /// Days that somebody holds a lock of are left for the next time; the answer is how many old ones that were. The store does it
    /// when it is opened and every hour; this is for who can't wait.
    ///
    /// # Errors
    /// `Unavailable` if the server can't be reached.
    pub async fn tend_log_days(&self) -> std::result::Result<u32, StoreError> {
        let tended = async {
            let mut conn = self.readers().acquire().await?.detach();
            let left = tend(&mut conn, self.log_days()).await?;
            conn.close().await?;
            Ok(left)
        };
        tended.await.map_err(|fault: Fault| fault.of("log days"))
    }
}

/// What [`PostgresStore::tend_log_days`] does.
pub(crate) async fn tend(conn: &mut PgConnection, keep: u32) -> Result<u32> {
    let keep = i32::try_from(keep).unwrap_or(i32::MAX).min(365_000);
    let missing: Vec<(String, String, String)> = sqlx::query_as(MISSING)
        .bind(AHEAD)
        .fetch_all(&mut *conn)
        .await?;
    for (name, from, to) in missing {
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {name} PARTITION OF job_logs FOR VALUES FROM ('{from}') TO ('{to}')"
        );
        if !change(conn, "SHARE ROW EXCLUSIVE", &make).await? {
            tracing::debug!(day = name, "the partition of a day of logs is not made yet");
        }
    }
    let old: Vec<String> = sqlx::query_scalar(OLD)
        .bind(keep)
        .fetch_all(&mut *conn)
        .await?;
    let mut dropped = 0;
    for name in &old {
        let end = format!("DROP TABLE IF EXISTS {name}");
        // Whoever is in the way of one is in the way of all.
        if !change(conn, "ACCESS EXCLUSIVE", &end).await? {
            break;
        }
        dropped += 1;
    }
    let left = old.len() - dropped;
    if dropped > 0 {
        tracing::info!(days = dropped, "old logs dropped");
    }
    if left > 0 {
        tracing::warn!(
            days = left,
            "old logs not dropped yet: somebody reads for long (see pg_stat_activity); trying again in an hour"
        );
    }
    delete_stray(conn, keep).await?;
    Ok(u32::try_from(left).unwrap_or(u32::MAX))
}

/// Changes which partitions there are, in a transaction of its own. Whether it is done, or what it wanted is true already; if not,
/// somebody holds a lock.
async fn change(conn: &mut PgConnection, lock: &str, sql: &str) -> Result<bool> {
    for tried in 0..TRIES {
        match try_change(conn, lock, sql).await {
            Ok(()) => return Ok(true),
            Err(error) => match error.as_database_error().and_then(DatabaseError::code) {
                // The lock is not free; or somebody else would have waited for us and we for him.
                Some(code) if matches!(&*code, "55P03" | "40P01") => {}
                // Lines of that day are in the other partition already: they stay there.
                Some(code) if code == "23514" => return Ok(true),
                _ => return Err(error.into()),
            },
        }
        if tried + 1 < TRIES {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(false)
}

async fn try_change(conn: &mut PgConnection, lock: &str, sql: &str) -> sqlx::Result<()> {
    let mut tx = conn.begin().await?;
    // In the order of those who write: first the jobs, then their lines.
    let lock = format!("LOCK TABLE ONLY job_executions IN {lock} MODE");
    for sql in [PATIENCE, &lock, sql] {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *tx)
            .await;
        if let Err(error) = done {
            tx.rollback().await?;
            return Err(error);
        }
    }
    tx.commit().await
}

/// Deletes old lines that have no day, a few at a time.
async fn delete_stray(conn: &mut PgConnection, keep: i32) -> Result<()> {
    loop {
        let deleted = sqlx::query(DELETE_STRAY)
            .bind(keep)
            .bind(BATCH)
            .execute(&mut *conn)
            .await?;
        if deleted.rows_affected() < BATCH as u64 {
            return Ok(());
        }
    }
}

/// Sees to the days until it is aborted.
pub(crate) fn keep_tending(options: PgConnectOptions, keep: u32) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let tended = async {
                let mut conn = connect::writable(&options).await?;
                tend(&mut conn, keep).await?;
                conn.close().await?;
                Ok::<_, Fault>(())
            };
            if let Err(fault) = tended.await {
                tracing::warn!(error = ?fault, "partitions of logs not seen to, trying again in an hour");
            }
        }
    })
}

/// Days to come that have no partition: its name, and its bounds.
const MISSING: &str = "
    SELECT 'job_logs_' || to_char(day, 'YYYYMMDD'), day::date || ' 00:00:00+00', (day::date + 1) || ' 00:00:00+00'
    FROM generate_series((clock_timestamp() AT TIME ZONE 'UTC')::date, (clock_timestamp() AT TIME ZONE 'UTC')::date + $1, '1 day') day
    WHERE to_regclass('job_logs_' || to_char(day, 'YYYYMMDD')) IS NULL
    ORDER BY day";

/// Partitions of days that are over for long enough, oldest first. Their names need no quotes.
const OLD: &str = "
    SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'job_logs'::regclass AND c.relname ~ '^job_logs_[0-9]{8}$'
        AND to_date(right(c.relname, 8), 'YYYYMMDD') < (clock_timestamp() AT TIME ZONE 'UTC')::date - $1
    ORDER BY 1";

const DELETE_STRAY: &str = "
    DELETE FROM job_logs_other WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM job_logs_other
        WHERE logged_at < ((clock_timestamp() AT TIME ZONE 'UTC')::date - $1) AT TIME ZONE 'UTC' LIMIT $2))";
