//! A database of a test's own.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use uuid::Uuid;

/// A database of its own on a server.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// On the server that all tests share.
    pub async fn new() -> Self {
        let server = std::env::var("ETL_TEST_POSTGRES_URL").expect(
            "ETL_TEST_POSTGRES_URL names the PostgreSQL server for tests: `eval $(scripts/services env)`",
        );
        Self::on(server).await
    }

    /// On the server that has the database of this URL.
    pub async fn on(server: String) -> Self {
        let name = format!("etl_test_{}", Uuid::now_v7().simple());
        let database = Self { server, name };
        database
            .on_the_server(format!("CREATE DATABASE {}", database.name))
            .await;
        database
    }

    async fn on_the_server(&self, sql: String) {
        let mut conn = PgConnection::connect(&self.server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut conn)
            .await
            .unwrap();
    }

    pub fn url(&self) -> String {
        let (before, _) = self.server.rsplit_once('/').unwrap();
        format!("{before}/{}", self.name)
    }

    /// `HOST:PORT` of the server.
    pub fn address(&self) -> &str {
        let (before, _) = self.server.rsplit_once('/').unwrap();
        before.rsplit_once('@').unwrap().1
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// What a query gives, as texts.
    pub async fn rows(&self, sql: impl Into<String>) -> Vec<Vec<String>> {
        let mut conn = self.connect().await;
        rows(&mut conn, sql).await.unwrap()
    }

    /// The one text that a query gives.
    pub async fn text(&self, sql: impl Into<String>) -> String {
        self.rows(sql).await.remove(0).remove(0)
    }

    /// The one number that a query gives.
    pub async fn number(&self, sql: impl Into<String>) -> i64 {
        self.text(sql).await.parse().unwrap()
    }

    pub async fn run(&self, sql: impl Into<String>) {
        let mut conn = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql.into()))
            .execute(&mut conn)
            .await
            .unwrap();
    }

    pub async fn drop(&self) {
        self.on_the_server(format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }
}

/// What a query of texts gives.
pub async fn rows(
    conn: &mut PgConnection,
    sql: impl Into<String>,
) -> Result<Vec<Vec<String>>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(sql.into()))
        .fetch_all(conn)
        .await?;
    let text = |row: &PgRow, at| row.get::<Option<String>, _>(at).unwrap_or_default();
    Ok(rows
        .iter()
        .map(|row| (0..row.len()).map(|at| text(row, at)).collect())
        .collect())
}
