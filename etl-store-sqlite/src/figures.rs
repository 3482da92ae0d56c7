//! Figures of what is remembered.

use async_trait::async_trait;
use etl_core::contract::store::{Figures, Result as StoreResult};

use crate::store::SqliteStore;
use etl_store_sql::Fault;

#[async_trait]
impl Figures for SqliteStore {
    async fn backlog(&self, most: u64) -> StoreResult<u64> {
        let counted = async {
            let count: i64 = sqlx::query_scalar(BACKLOG)
                .bind(i64::try_from(most).unwrap_or(i64::MAX))
                .fetch_one(self.readers())
                .await?;
            Ok(count.unsigned_abs())
        };
        counted.await.map_err(|fault: Fault| fault.of("backlog"))
    }
}

pub(crate) const BACKLOG: &str = "
    SELECT count(*) FROM (
        SELECT 1 FROM job_executions INDEXED BY idx_jobs_waiting WHERE status IN ('pending', 'queued') LIMIT ?1
    )";
