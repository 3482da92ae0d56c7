//! Users and what they sign in with: the dialect and the connections. The rest is `etl_store_sql::accounts`.

use std::borrow::Cow;

use etl_core::contract::store::{
    AdmitLogin, ChangeMfa, CreateApiKey, CreateUser, EndSessions, FailToken, ForgetEnded,
    LoginGate, LoginSucceeded, OpenSession, PutToken, RemoveUser, Result as StoreResult,
    RevokeApiKey, RevokeSession, RotateToken, TakeToken, TokenRotation, UpdateUser, UserCreated,
    UserWrite,
};
use etl_core::model::{
    ApiKey, OneTimeToken, Page, PageRequest, Purpose, Session, Timestamp, TokenHash, User, UserId,
};
use etl_store_sql::{AccountsConn, AccountsSql, Arg, Result, accounts};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqlitePool};

use crate::store::SqliteStore;
use crate::writer::Tx;

/// The one writer locks nothing else.
pub(crate) const SQL: AccountsSql = etl_store_sql::accounts_sql! {
    uuid: "",
    time: "",
    text: "",
    format: "",
    lock: "",
    lock_users: "SELECT 1",
};

type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

fn query(sql: &'static str, args: Vec<Arg<'_>>) -> Query {
    args.into_iter()
        .fold(sqlx::query(sql), |query, arg| match arg {
            Arg::Text(text) => query.bind(text.map(Cow::into_owned)),
            Arg::Int(number) => query.bind(number),
            Arg::Bytes(bytes) => query.bind(bytes.map(Cow::into_owned)),
        })
}

impl AccountsConn for Tx<'_> {
    type Row = SqliteRow;
    const SQL: &'static AccountsSql = &SQL;

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
struct Reading<'a> {
    pool: &'a SqlitePool,
    now: Timestamp,
}

impl AccountsConn for Reading<'_> {
    type Row = SqliteRow;
    const SQL: &'static AccountsSql = &SQL;

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
    fn reading(&self) -> Reading<'_> {
        Reading {
            pool: self.readers(),
            now: self.now(),
        }
    }

    #[allow(clippy::unused_async, reason = "other stores ask their database")]
    async fn reading_now(&self) -> Result<Reading<'_>> {
        Ok(self.reading())
    }
}

etl_store_sql::accounts_store!(SqliteStore, ask_beside);
