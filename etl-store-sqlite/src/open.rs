//! Opening a database: which file it is, whose it is, and whether this version can read it.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::store::Result as StoreResult;
use etl_core::contract::{Clock, StoreErrorKind};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

use crate::catalog::Documents;
use crate::lock::{self, ServerLock};
use crate::schedules;
use crate::store::{Access, SqliteStore};
use crate::triggers;
use crate::writer::Writer;
use etl_store_sql::time;
use etl_store_sql::{Fault, Result};

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// `ETL1` in the header of our files: what tells them from other people's databases.
const APPLICATION_ID: i64 = 0x4554_4c31;

/// How long a statement waits for the other process that writes: a canceller, or a person with a shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many readers may read at once.
const READERS: u32 = 4;

impl SqliteStore {
    /// Opens a database as its server: makes it if there is none, and brings its tables up to this version.
    ///
    /// A missing folder is made for the owner alone (0700), a missing file too (0600). Since no other server can be alive,
    /// the leases of running jobs end at once: their owners are gone.
    ///
    /// # Errors
    /// - `InUse` if another server has it: the cause names the file and the process.
    /// - `Corrupt` if the file is no database, `Incompatible` if it is not one of ours or was made by a newer version.
    /// - `Unavailable` if it can't be read or written.
    pub async fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        let path = path.as_ref();
        open_server(path, clock)
            .await
            .map_err(|fault| fault.in_place(path.display().to_string()).of("open"))
    }

    /// Tells other processes that the server of this database, which is this process, runs whatever jobs are handed in. It holds until
    /// the server lets go of the database.
    ///
    /// # Errors
    /// `Unavailable` if it can't be noted.
    pub fn announce_worker(path: impl AsRef<Path>) -> StoreResult<()> {
        let noted = path.as_ref().canonicalize();
        noted
            .and_then(|path| lock::announce(&path))
            .map_err(|error| Fault::caused(StoreErrorKind::Unavailable, error).of("announce"))
    }

    /// Whether the server of this database, if it has one, has told so.
    pub fn has_worker(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref().canonicalize();
        path.is_ok_and(|path| lock::is_announced(&path))
    }

    /// Opens a database that has, or may have, a server, for reading, for the catalog, credentials and schedules, for submitting and
    /// [`cancel`]. What only runs jobs or fires schedules (claims, commits, fires) answers `InUse`. Nothing is changed by opening it.
    ///
    /// # Errors
    /// - `NotFound` if there is no file.
    /// - `Corrupt` if the file is no database, `Incompatible` if it is not one of ours or of another version.
    /// - `Unavailable` if it can't be read or written.
    ///
    /// [`cancel`]: etl_core::contract::store::JobStore::cancel
    pub async fn open_shared(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> StoreResult<Self> {
        let path = path.as_ref();
        open_beside(path, clock)
            .await
            .map_err(|fault| fault.in_place(path.display().to_string()).of("open"))
    }
}

async fn open_server(path: &Path, clock: Arc<dyn Clock>) -> Result<SqliteStore> {
    let path = prepare(path)?;
    serve(&path, options(&path), clock).await
}

/// Opens a file that is there as its server.
pub(crate) async fn serve(
    path: &Path,
    options: SqliteConnectOptions,
    clock: Arc<dyn Clock>,
) -> Result<SqliteStore> {
    let lock = ServerLock::take(path)?;
    let options = options.journal_mode(SqliteJournalMode::Wal);
    let mut conn = options.connect().await?;
    claim_file(&mut conn).await?;
    let knows_schedules: bool = sqlx::query_scalar(KNOWS_SCHEDULES)
        .fetch_one(&mut conn)
        .await?;
    // Not `run`: with it the compiler can't see that this future is `Send`.
    let migrated = MIGRATOR.run_direct(None, &mut conn, false).await;
    migrated.map_err(migration_fault)?;
    triggers::install(&mut conn).await?;
    if !knows_schedules {
        schedules::begin(&mut conn, clock.now()).await?;
    }
    sqlx::query(END_LEASES)
        .bind(time(clock.now()))
        .execute(&mut conn)
        .await?;
    Ok(assemble(options, conn, clock, Some(lock), Access::Server))
}

async fn open_beside(path: &Path, clock: Arc<dyn Clock>) -> Result<SqliteStore> {
    if !path.exists() {
        return Err(Fault::said(
            StoreErrorKind::NotFound,
            "there is no such file",
        ));
    }
    let path = path
        .canonicalize()
        .map_err(|error| Fault::caused(StoreErrorKind::Unavailable, error))?;
    let options = options(&path);
    let mut conn = options.connect().await?;
    check_version(&mut conn).await?;
    Ok(assemble(options, conn, clock, None, Access::Shared))
}

fn assemble(
    options: SqliteConnectOptions,
    conn: SqliteConnection,
    clock: Arc<dyn Clock>,
    lock: Option<ServerLock>,
    access: Access,
) -> SqliteStore {
    let documents = Arc::new(Documents::default());
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(Duration::from_secs(10))
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(
            options
                .clone()
                .pragma("query_only", "ON")
                // 8 MiB each: readers look at pages of lists, not at everything that is written.
                .pragma("cache_size", "-8192"),
        );
    let writer = Writer::new(options, conn, clock.clone(), documents.clone(), lock);
    SqliteStore::new(
        etl_store_sql::WriterHandle::start(writer),
        readers,
        documents,
        clock,
        access,
    )
}

/// What holds for every connection.
pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("temp_store", "MEMORY")
        // 64 MiB.
        .pragma("cache_size", "-65536")
        // Folding the log in costs a rewrite of every changed page: the longer it waits, the fewer pages are written
        // twice. 16,384 pages are 64 MiB of log, and a log that has grown longer is cut back to that.
        .pragma("wal_autocheckpoint", "16384")
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging()
}

/// Makes the folder and the file if they are missing, and gives the file's own path, links followed.
pub(crate) fn prepare(path: &Path) -> Result<PathBuf> {
    let failed = |error: std::io::Error| Fault::caused(StoreErrorKind::Unavailable, error);
    if path.is_dir() {
        return Err(Fault::said(
            StoreErrorKind::Unavailable,
            "it is a folder; name a file",
        ));
    }
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
    }
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    path.canonicalize().map_err(failed)
}

/// Sees to it that the file is ours: a new one is marked, one of ours is marked already, any other is left alone.
async fn claim_file(conn: &mut SqliteConnection) -> Result<()> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master")
        .fetch_one(&mut *conn)
        .await?;
    if tables == 0 {
        sqlx::raw_sql("PRAGMA application_id = 1163152433")
            .execute(&mut *conn)
            .await?;
    }
    check_ours(conn).await
}

async fn check_ours(conn: &mut SqliteConnection) -> Result<()> {
    let id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *conn)
        .await?;
    if id == APPLICATION_ID {
        Ok(())
    } else {
        Err(Fault::said(
            StoreErrorKind::Incompatible,
            "it is an SQLite database of another program; use a file of its own",
        ))
    }
}

async fn check_version(conn: &mut SqliteConnection) -> Result<()> {
    check_ours(conn).await?;
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
                "its tables are of an earlier version (they lack {}); start its server once, or `etl migrate`, to bring them up",
                missing.version
            ),
        )),
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
            "it was made by a newer version of this program (tables of version {version}); upgrade the program"
        ),
    )
}

const KNOWS_SCHEDULES: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schedules')";

const END_LEASES: &str = "UPDATE job_executions SET lease_expires_at = ?1 WHERE status = 'running' AND lease_expires_at > ?1";
