//! Opening a store: connecting, bringing the tables up to this version, and refusing what a newer version made.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etl_core::contract::store::Result as StoreResult;
use etl_core::contract::{Clock, StoreErrorKind};
use etl_store_sql::{Fault, Result, WriterHandle};
use sqlx::Connection;
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};

use crate::catalog::Documents;
use crate::connect;
use crate::log_days;
use crate::store::PostgresStore;
use crate::triggers;
use crate::writer::Writer;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// How many readers may read at once.
const READERS: u32 = 4;

/// Connections for notifications: two listen, two send.
const NOTICES: u32 = 4;

/// Held while tables are changed, so that processes that start together do it one after the other. In the middle of a key space
/// that others are unlikely to use: `etl` and the version of this protocol.
const MIGRATION_LOCK: i64 = 0x0065_746c_0000_0001;

/// How long the migrations of another process are waited for.
const OTHERS_MIGRATE_WITHIN: Duration = Duration::from_mins(5);

/// The SQLSTATE of a lock that could not be had within `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// How a store is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The schema of the tables; it is made if it is missing. The connection's own without one.
    pub schema: Option<String>,
    /// Followed in place of the database's clock. For tests: processes that share a database must share its clock.
    pub clock: Option<Arc<dyn Clock>>,
    /// Days for which logs are kept; 90 if nothing is said.
    pub log_days: Option<u32>,
}

/// What is done about the tables.
#[derive(Debug, Clone, Copy)]
enum Tables {
    /// They are made and brought up to this version.
    BringUp,
    /// They have to be there, of this version.
    Expect,
}

impl PostgresStore {
    /// Opens the store at `url` (`postgres://user:password@host:port/database`) and brings its tables up to this version.
    ///
    /// # Errors
    /// - `Unavailable` if the server can't be reached or doesn't let us in.
    /// - `Incompatible` if the tables were made by a newer version.
    ///
    /// No error has the password in it.
    pub async fn open(url: &str, options: Options) -> StoreResult<Self> {
        Self::open_by(url, options, Tables::BringUp).await
    }

    /// Opens the store as [`open`](Self::open) does, but leaves its tables as they are: for who looks at it, or works beside the
    /// servers that use it.
    ///
    /// # Errors
    /// - `Unavailable` if the server can't be reached or doesn't let us in.
    /// - `NotFound` if the database has no tables of ours.
    /// - `Incompatible` if they are of another version.
    ///
    /// No error has the password in it.
    pub async fn open_shared(url: &str, options: Options) -> StoreResult<Self> {
        Self::open_by(url, options, Tables::Expect).await
    }

    async fn open_by(url: &str, options: Options, tables: Tables) -> StoreResult<Self> {
        let (parsed, place) = parse(url).map_err(|fault| fault.of("open"))?;
        open(parsed, options, tables)
            .await
            .map_err(|fault| fault.in_place(place).of("open"))
    }
}

/// The options of a URL, and the URL as it may be told: host, port and database.
fn parse(url: &str) -> Result<(PgConnectOptions, String)> {
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        Fault::said(
            StoreErrorKind::Unavailable,
            "the database's URL can't be read; it looks like postgres://user:password@host:port/database",
        )
    })?;
    let place = format!(
        "{}:{}/{}",
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or_default()
    );
    Ok((options, place))
}

async fn open(url: PgConnectOptions, options: Options, tables: Tables) -> Result<PostgresStore> {
    let mut url = connect::settings(url, "etl");
    if let Some(schema) = &options.schema {
        url = url.options([("search_path", schema)]);
    }
    let mut conn = connect::writable(&url).await?;
    let log_days = options.log_days.unwrap_or(log_days::KEPT);
    let ready = match tables {
        Tables::BringUp => migrate(&mut conn, options.schema.as_deref(), log_days).await,
        Tables::Expect => check_version(&mut conn).await,
    };
    // Closed or not: the lock ends with the connection.
    conn.close().await?;
    ready?;
    let documents = Arc::new(Documents::default());
    let readers = PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(Duration::from_secs(5))
        .max_lifetime(Duration::from_mins(30))
        .idle_timeout(Duration::from_mins(10))
        .test_before_acquire(true)
        .connect_lazy_with(url.clone());
    let notices = PgPoolOptions::new()
        .max_connections(NOTICES)
        .acquire_timeout(Duration::from_secs(5))
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(url.clone());
    let tending = match tables {
        Tables::BringUp => Some(log_days::keep_tending(url.clone(), log_days)),
        Tables::Expect => None,
    };
    let writer = Writer::new(
        connect::by_index_alone(url),
        options.clock.clone(),
        Arc::clone(&documents),
    );
    Ok(PostgresStore::new(
        WriterHandle::start(writer),
        readers,
        notices,
        options.schema,
        documents,
        options.clock,
        (log_days, tending),
    ))
}

/// Refuses tables of another version.
async fn check_version(conn: &mut PgConnection) -> Result<()> {
    let table: Option<String> = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations')::text")
        .fetch_one(&mut *conn)
        .await?;
    if table.is_none() {
        return Err(Fault::said(
            StoreErrorKind::NotFound,
            "the database has no tables of ours; `etl migrate` or the start of a server makes them",
        ));
    }
    let applied: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(conn)
            .await?;
    let is_known = |version: &i64| MIGRATOR.iter().any(|known| known.version == *version);
    if let Some(unknown) = applied.iter().find(|version| !is_known(version)) {
        return Err(newer(*unknown));
    }
    let missing = MIGRATOR
        .iter()
        .find(|known| !applied.contains(&known.version));
    match missing {
        None => Ok(()),
        Some(missing) => Err(Fault::said(
            StoreErrorKind::Incompatible,
            format!(
                "its tables are of an earlier version (they lack {}); `etl migrate` or the start of a server brings them up",
                missing.version
            ),
        )),
    }
}

async fn migrate(conn: &mut PgConnection, schema: Option<&str>, log_days: u32) -> Result<()> {
    sqlx::query("SET statement_timeout = 0")
        .execute(&mut *conn)
        .await?;
    lock_migrations(conn).await?;
    if let Some(schema) = schema {
        let sql: String = sqlx::query_scalar("SELECT format('CREATE SCHEMA IF NOT EXISTS %I', $1)")
            .bind(schema)
            .fetch_one(&mut *conn)
            .await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut *conn)
            .await?;
    }
    // Not `run`: with it the compiler can't see that this future is `Send`.
    let migrated = MIGRATOR.run_direct(None, conn, false).await;
    migrated.map_err(migration_fault)?;
    triggers::install(conn).await?;
    sqlx::query("SELECT pg_advisory_unlock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *conn)
        .await?;
    // Somebody who reads the logs for long must not keep a server from starting: lines without a day have a place of their own.
    if let Err(fault) = log_days::tend(conn, log_days).await {
        tracing::warn!(error = ?fault, "partitions of logs not seen to, trying again in an hour");
    }
    Ok(())
}

/// Waits for the lock of migrations. Whoever holds it may have much to change; and somebody whose host is gone holds it for as
/// long as the database believes in the connection.
async fn lock_migrations(conn: &mut PgConnection) -> Result<()> {
    let began = Instant::now();
    loop {
        let locked = sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *conn)
            .await;
        let Err(error) = locked else {
            return Ok(());
        };
        let code = error.as_database_error().and_then(DatabaseError::code);
        if code.as_deref() != Some(LOCK_NOT_AVAILABLE) || began.elapsed() > OTHERS_MIGRATE_WITHIN {
            return Err(error.into());
        }
        tracing::warn!(
            seconds = began.elapsed().as_secs(),
            "another process holds the lock of migrations: see pg_locks for who it is"
        );
    }
}

fn migration_fault(error: MigrateError) -> Fault {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMissing(version) => newer(version),
        other => Fault::corrupt(other),
    }
}

fn newer(version: i64) -> Fault {
    Fault::said(
        StoreErrorKind::Incompatible,
        format!(
            "its tables were made by a newer version of this program (version {version}); upgrade the program"
        ),
    )
}
