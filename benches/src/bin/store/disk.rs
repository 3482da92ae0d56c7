//! What the disk gives: transactions of plain SQLite, each flushed before the next begins.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// How many a second. Settings are those of the store: a write-ahead log, flushed at each commit.
pub(crate) async fn transactions(folder: &Path) -> Result<f64> {
    let mut conn = SqliteConnectOptions::new()
        .filename(folder.join("plain.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
        .connect()
        .await?;
    sqlx::raw_sql("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        .execute(&mut conn)
        .await?;
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < LONG_ENOUGH {
        sqlx::query("INSERT INTO rows (text) VALUES (?1)")
            .bind("about as much as a state of a step")
            .execute(&mut conn)
            .await?;
        count += 1;
    }
    let took = began.elapsed();
    conn.close().await?;
    Ok(f64::from(count) / took.as_secs_f64())
}
