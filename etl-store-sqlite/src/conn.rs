//! The connections on which shared statements run.

use std::borrow::Cow;

use etl_core::model::Timestamp;
use etl_store_sql::{AccountsSql, Arg, AuditSql, DeadLettersSql, Result, SqlConn};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqlitePool};

use crate::store::SqliteStore;
use crate::writer::Tx;
use crate::{accounts, audit, dead_letters};

type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

fn query(sql: &'static str, args: Vec<Arg<'_>>) -> Query {
    args.into_iter()
        .fold(sqlx::query(sql), |query, arg| match arg {
            Arg::Text(text) => query.bind(text.map(Cow::into_owned)),
            Arg::Int(number) => query.bind(number),
            Arg::Bytes(bytes) => query.bind(bytes.map(Cow::into_owned)),
        })
}

impl SqlConn for Tx<'_> {
    type Row = SqliteRow;
    const ACCOUNTS: &'static AccountsSql = &accounts::SQL;
    const AUDIT: &'static AuditSql = &audit::SQL;
    const DEAD_LETTERS: &'static DeadLettersSql = &dead_letters::SQL;

    fn now(&self) -> Timestamp {
        self.now
    }

    async fn rows(&mut self, sql: &'static str, args: Vec<Arg<'_>>) -> Result<Vec<SqliteRow>> {
        Ok(query(sql, args).fetch_all(&mut *self.conn).await?)
    }

    async fn write(&mut self, sql: &'static str, args: Vec<Arg<'_>>) -> Result<u64> {
        let done = query(sql, args).execute(&mut *self.conn).await?;
        Ok(done.rows_affected())
    }
}

/// A connection that reads.
pub(crate) struct Reading<'a> {
    pool: &'a SqlitePool,
    now: Timestamp,
}

impl SqlConn for Reading<'_> {
    type Row = SqliteRow;
    const ACCOUNTS: &'static AccountsSql = &accounts::SQL;
    const AUDIT: &'static AuditSql = &audit::SQL;
    const DEAD_LETTERS: &'static DeadLettersSql = &dead_letters::SQL;

    fn now(&self) -> Timestamp {
        self.now
    }

    async fn rows(&mut self, sql: &'static str, args: Vec<Arg<'_>>) -> Result<Vec<SqliteRow>> {
        Ok(query(sql, args).fetch_all(self.pool).await?)
    }

    async fn write(&mut self, sql: &'static str, args: Vec<Arg<'_>>) -> Result<u64> {
        Ok(query(sql, args).execute(self.pool).await?.rows_affected())
    }
}

impl SqliteStore {
    pub(crate) fn reading(&self) -> Reading<'_> {
        Reading {
            pool: self.readers(),
            now: self.now(),
        }
    }

    #[allow(clippy::unused_async, reason = "other stores ask their database")]
    pub(crate) async fn reading_now(&self) -> Result<Reading<'_>> {
        Ok(self.reading())
    }
}
