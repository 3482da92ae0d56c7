//! Passes over rows that can't be read, so that they hold up none of those behind them.

use etl_store_sql::{Answers, PutOff, Result};

use crate::store::PostgresStore;
use crate::text::json;
use crate::writer::Tx;

impl PostgresStore {
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

const SCHEDULES: &str = "
    UPDATE schedules s SET put_off = s.put_off + 1, put_off_until = (e->>1)::timestamptz
    FROM jsonb_array_elements($1::jsonb) e
    WHERE s.pipeline_id = (e->>0)::uuid AND s.put_off = (e->>2)::int";

const HOOKS: &str = "
    UPDATE job_hooks h SET put_off = h.put_off + 1, put_off_until = (e->>2)::timestamptz
    FROM jsonb_array_elements($1::jsonb) e
    WHERE h.job_id = (e->>0)::uuid AND h.position = (e->>1)::int AND h.put_off = (e->>3)::int";
