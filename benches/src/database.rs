//! Databases of measurements.

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

/// A database of its own on the server for tests.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// A new one, on a server that flushes what it confirms.
    ///
    /// # Errors
    /// If the server can't be used, or does not flush.
    pub async fn new() -> Result<Self> {
        let server = variable("ETL_TEST_POSTGRES_URL")?;
        let name = format!("etl_bench_{}", Uuid::now_v7().simple());
        let database = Self { server, name };
        let name = &database.name;
        database.run(format!("CREATE DATABASE {name}")).await?;
        let mut conn = PgConnection::connect(&database.server).await?;
        let durable: bool = sqlx::query_scalar(
            "SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') = 'on'",
        )
        .fetch_one(&mut conn)
        .await?;
        ensure!(durable, "the server does not flush what it confirms");
        Ok(database)
    }

    async fn run(&self, sql: String) -> Result<()> {
        let mut conn = PgConnection::connect(&self.server).await?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
        conn.close().await?;
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    ///
    /// # Errors
    /// If the server's URL is none.
    pub fn url(&self) -> Result<String> {
        let (server, _) = self.server.rsplit_once('/').context("no URL")?;
        Ok(format!("{server}/{}", self.name))
    }

    /// Removes it, whoever is connected.
    ///
    /// # Errors
    /// If the server can't be used.
    pub async fn remove(self) -> Result<()> {
        self.run(format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await
    }
}

/// A variable that `scripts/services env` tells.
///
/// # Errors
/// If it is not set.
pub fn variable(name: &str) -> Result<String> {
    std::env::var(name)
        .with_context(|| format!("{name} is not set: eval \"$(scripts/services env)\""))
}
