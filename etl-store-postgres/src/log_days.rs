//! The days of the logs: partitions for those to come, and an end for those that are old.

use std::time::Duration;

use etl_core::contract::StoreError;
use etl_store_sql::{Fault, Result};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::task::JoinHandle;

use crate::{PostgresStore, connect};

/// Days of logs that are kept, if nobody says otherwise.
pub(crate) const KEPT: u32 = 90;

/// Days for which there is a partition before they come. Lines of a day without one are kept in a partition of their own, for ever.
const AHEAD: i32 = 2;

/// How often it is seen to: often enough that two days ahead are always there, also if it fails a few times.
const EVERY: Duration = Duration::from_hours(6);

/// No line waits longer than this for a partition that is made or dropped; otherwise it is tried again later.
const LOCK: &str = "SET lock_timeout = '2s'";

impl PostgresStore {
    /// Makes the partitions of today and the next two days, and drops those older than [`Options::log_days`](crate::Options).
    /// The store does it when it is opened and every six hours; this is for who can't wait.
    ///
    /// # Errors
    /// `Unavailable` if the server can't be reached, or if a table is in use for longer than two seconds.
    pub async fn tend_log_days(&self) -> std::result::Result<(), StoreError> {
        let tended = async {
            let mut conn = self.readers().acquire().await?.detach();
            tend(&mut conn, self.log_days()).await?;
            conn.close().await?;
            Ok(())
        };
        tended.await.map_err(|fault: Fault| fault.of("log days"))
    }
}

/// What [`PostgresStore::tend_log_days`] does, over one connection whose limit for locks stays changed.
pub(crate) async fn tend(conn: &mut PgConnection, keep: u32) -> Result<()> {
    sqlx::query(LOCK).execute(&mut *conn).await?;
    let dropped: i32 = sqlx::query_scalar("SELECT etl_log_days($1, $2)")
        .bind(AHEAD)
        .bind(i32::try_from(keep).unwrap_or(i32::MAX).min(365_000))
        .fetch_one(&mut *conn)
        .await?;
    if dropped > 0 {
        tracing::info!(days = dropped, "old logs dropped");
    }
    Ok(())
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
                tracing::warn!(error = ?fault, "partitions of logs not seen to, trying again in six hours");
            }
        }
    })
}
