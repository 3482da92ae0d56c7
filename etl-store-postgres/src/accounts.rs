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
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{PgPool, Postgres};

use crate::store::PostgresStore;
use crate::writer::Tx;

/// Who administers is changed by one transaction at a time. The number is this store's own for it.
const SQL: AccountsSql = etl_store_sql::accounts_sql! {
    uuid: "::uuid",
    time: "::timestamptz",
    text: "::text",
    format: "etl_text",
    lock: " FOR UPDATE",
    lock_users: "SELECT pg_advisory_xact_lock(hashtext(current_schema()), 7301)",
};

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

impl AccountsConn for Tx<'_> {
    type Row = PgRow;
    const SQL: &'static AccountsSql = &SQL;

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
struct Reading<'a> {
    pool: &'a PgPool,
    now: Timestamp,
}

impl AccountsConn for Reading<'_> {
    type Row = PgRow;
    const SQL: &'static AccountsSql = &SQL;

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
    fn reading(&self) -> Reading<'_> {
        Reading {
            pool: self.readers(),
            now: Timestamp::default(),
        }
    }

    async fn reading_now(&self) -> Result<Reading<'_>> {
        let now = self.now().await?;
        Ok(Reading {
            now,
            ..self.reading()
        })
    }
}

etl_store_sql::accounts_store!(PostgresStore, ask);
