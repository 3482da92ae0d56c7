//! The connections on which shared statements run.

use std::borrow::Cow;

use etl_core::model::Timestamp;
use etl_store_sql::{AccountsSql, Arg, AuditSql, DeadLettersSql, Result, SqlConn};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{PgPool, Postgres};

use crate::store::PostgresStore;
use crate::writer::Tx;
use crate::{accounts, audit, dead_letters};

type Query = sqlx::query::Query<'static, Postgres, PgArguments>;

/// Text can't hold NUL here.
fn query(sql: &'static str, args: Vec<Arg<'_>>) -> Query {
    args.into_iter()
        .fold(sqlx::query(sql), |query, arg| match arg {
            Arg::Text(text) => query.bind(text.map(|text| text.replace('\0', "\u{fffd}"))),
            Arg::Int(number) => query.bind(number),
            Arg::Bytes(bytes) => query.bind(bytes.map(Cow::into_owned)),
        })
}

impl SqlConn for Tx<'_> {
    type Row = PgRow;
    const ACCOUNTS: &'static AccountsSql = &accounts::SQL;
    const AUDIT: &'static AuditSql = &audit::SQL;
    const DEAD_LETTERS: &'static DeadLettersSql = &dead_letters::SQL;

    fn now(&self) -> Timestamp {
        self.now
    }

    async fn rows(&mut self, sql: &'static str, args: Vec<Arg<'_>>) -> Result<Vec<PgRow>> {
        Ok(query(sql, args).fetch_all(&mut *self.conn).await?)
    }

    async fn write(&mut self, sql: &'static str, args: Vec<Arg<'_>>) -> Result<u64> {
        let done = query(sql, args).execute(&mut *self.conn).await?;
        Ok(done.rows_affected())
    }
}

/// A connection that reads.
pub(crate) struct Reading<'a> {
    pool: &'a PgPool,
    now: Timestamp,
}

impl SqlConn for Reading<'_> {
    type Row = PgRow;
    const ACCOUNTS: &'static AccountsSql = &accounts::SQL;
    const AUDIT: &'static AuditSql = &audit::SQL;
    const DEAD_LETTERS: &'static DeadLettersSql = &dead_letters::SQL;

    fn now(&self) -> Timestamp {
        self.now
    }

    async fn rows(&mut self, sql: &'static str, args: Vec<Arg<'_>>) -> Result<Vec<PgRow>> {
        Ok(query(sql, args).fetch_all(self.pool).await?)
    }

    async fn write(&mut self, sql: &'static str, args: Vec<Arg<'_>>) -> Result<u64> {
        Ok(query(sql, args).execute(self.pool).await?.rows_affected())
    }
}

impl PostgresStore {
    /// For what does not depend on the time.
    pub(crate) fn reading(&self) -> Reading<'_> {
        Reading {
            pool: self.readers(),
            now: Timestamp::default(),
        }
    }

    pub(crate) async fn reading_now(&self) -> Result<Reading<'_>> {
        let now = self.now().await?;
        Ok(Reading {
            now,
            ..self.reading()
        })
    }
}
