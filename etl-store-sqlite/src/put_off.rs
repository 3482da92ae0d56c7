//! Passes over rows that can't be read, so that they hold up none of those behind them.

use etl_store_sql::{Answers, PutOff, Result, json};

use crate::store::SqliteStore;
use crate::writer::Tx;

impl SqliteStore {
    /// Puts rows off. Answers whether they are: without it they are in the way at the next look again.
    pub(crate) async fn put_off(&self, rows: PutOff) -> bool {
        let done = self.ask(rows).await;
        if let Err(error) = &done {
            tracing::warn!(%error, "rows that can't be read were not put off");
        }
        done.is_ok()
    }
}

pub(crate) async fn put_off(tx: &mut Tx<'_>, requests: &[&PutOff]) -> Result<Answers<()>> {
    for request in requests {
        for (sql, rows, count) in [
            (
                SCHEDULES,
                json(&request.schedules)?,
                request.schedules.len(),
            ),
            (HOOKS, json(&request.hooks)?, request.hooks.len()),
        ] {
            if count > 0 {
                sqlx::query(sql).bind(rows).execute(&mut *tx.conn).await?;
            }
        }
    }
    Ok(requests.iter().map(|_| Ok(())).collect())
}

pub(crate) const SCHEDULES: &str = "
    UPDATE schedules SET put_off = put_off + 1, put_off_until = value->>1
    FROM jsonb_each(?1)
    WHERE schedules.pipeline_id = value->>0 AND schedules.put_off = value->>2";

pub(crate) const HOOKS: &str = "
    UPDATE job_hooks SET put_off = put_off + 1, put_off_until = value->>2
    FROM jsonb_each(?1)
    WHERE job_hooks.job_id = value->>0 AND job_hooks.position = value->>1 AND job_hooks.put_off = value->>3";
