//! Where tests have their databases: schemas of their own on the server that the test command starts.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

/// A schema of its own, dropped at the end.
pub(crate) struct Place {
    url: String,
    schema: String,
}

impl Place {
    /// A place that nobody else uses.
    pub(crate) fn new() -> Self {
        let url = std::env::var("ETL_TEST_POSTGRES_URL").expect(
            "ETL_TEST_POSTGRES_URL names the PostgreSQL server for tests; `scripts/services up` starts one and `scripts/services env` tells its URL",
        );
        Self {
            url,
            schema: format!("test_{}", Uuid::now_v7().simple()),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (url, schema) = (self.url.clone(), self.schema.clone());
        // A thread of its own: this one may be in a runtime that is ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut conn = PgConnection::connect(&url).await?;
                let sql =
                    format!("SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS {schema} CASCADE");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await
            })
        });
        // What is left behind is a schema that nobody uses.
        let _ = dropped.join();
    }
}
