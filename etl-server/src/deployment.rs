//! What the configuration names, opened: the store, the queue, the events, the artifacts.

mod identity;

use std::path::PathBuf;
use std::sync::Arc;

use etl_core::artifact::ArtifactStorage;
use etl_core::contract::store::{Accounts, AuditLog, LetterStore};
use etl_core::contract::{Credentials, EventBus, Queue, Store, StoreErrorKind};
use etl_core::memory::{MemoryEvents, MemoryQueue};
use etl_core::registry::Registry;
use etl_core::runtime::{Scope, SystemClock};
use etl_core::sdk::{Etl, EtlBuilder};
use etl_metrics::{Metrics, Timed};
use etl_queue_amqp::{AmqpOptions, AmqpQueue};
use etl_redis::{RateLimiter, Redis, RedisOptions};
use etl_store_postgres::PostgresStore;
use etl_store_sqlite::SqliteStore;
use etl_vault::{KeySource, Passphrase, Vault};

use crate::api::Limits;
use crate::config::{Config, Database, EventsKind, QueueKind};
use crate::failure::{Exit, Failure};
use crate::identity::SecondFactors;
use crate::storage;

pub(crate) use identity::identity;

/// Who runs no jobs drops no logs: how long they are kept is the servers' configuration.
const FOR_EVER: u32 = u32::MAX;

/// Everything that this program can do in a step.
pub(crate) fn registry() -> Registry {
    etl_connectors::builtin()
}

/// A store that is open, and how it is closed.
#[derive(Debug, Clone)]
pub(crate) struct OpenStore {
    store: Arc<dyn Store>,
    handle: Handle,
}

#[derive(Debug, Clone)]
enum Handle {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

impl OpenStore {
    fn sqlite(store: SqliteStore) -> Self {
        let store = Arc::new(store);
        Self {
            store: store.clone(),
            handle: Handle::Sqlite(store),
        }
    }

    fn postgres(store: PostgresStore) -> Self {
        let store = Arc::new(store);
        Self {
            store: store.clone(),
            handle: Handle::Postgres(store),
        }
    }

    /// The same, and how long it takes to answer is counted.
    pub(crate) fn timed(mut self, metrics: &Metrics) -> Self {
        self.store = Arc::new(Timed::new(self.store, metrics.clone()));
        self
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Who may sign in.
    pub(crate) fn accounts(&self) -> Arc<dyn Accounts> {
        match &self.handle {
            Handle::Sqlite(store) => store.clone(),
            Handle::Postgres(store) => store.clone(),
        }
    }

    /// Who did what.
    pub(crate) fn audit(&self) -> Arc<dyn AuditLog> {
        match &self.handle {
            Handle::Sqlite(store) => store.clone(),
            Handle::Postgres(store) => store.clone(),
        }
    }

    /// What failed for good.
    pub(crate) fn letters(&self) -> Arc<dyn LetterStore> {
        match &self.handle {
            Handle::Sqlite(store) => store.clone(),
            Handle::Postgres(store) => store.clone(),
        }
    }

    pub(crate) fn as_postgres(&self) -> Option<&PostgresStore> {
        match &self.handle {
            Handle::Sqlite(_) => None,
            Handle::Postgres(store) => Some(store),
        }
    }

    /// Finishes what was asked before and lets go of the database.
    pub(crate) async fn close(&self) {
        match &self.handle {
            Handle::Sqlite(store) => store.close().await,
            Handle::Postgres(store) => store.close().await,
        }
    }
}

/// The store, to run jobs: a file as its one server, a Postgres beside others. What is missing is made.
pub(crate) async fn serve(config: &Config) -> Result<OpenStore, Failure> {
    match config.database()? {
        Database::Sqlite(path) => {
            let store = file(path).await?;
            Ok(OpenStore::sqlite(store.keep_logs(config.log_days)))
        }
        Database::Postgres(url) => postgres(&url, config.log_days).await,
    }
}

/// The store to run a job of this process alone: a file as its one server. Workers of a deployment would take the job.
pub(crate) async fn embedded(config: &Config) -> Result<OpenStore, Failure> {
    let path = embedded_path(config)?;
    match SqliteStore::open(path, Arc::new(SystemClock)).await {
        Ok(store) => Ok(OpenStore::sqlite(store.keep_logs(config.log_days))),
        Err(error) if error.kind == StoreErrorKind::InUse => Err(Failure::from(error).hint(
            "if that is `etl serve`, `etl submit FILE --wait` hands it the job; else wait for it to end, or give this one its own `--database-url`",
        )),
        Err(error) => Err(error.into()),
    }
}

/// The embedded store's file.
pub(crate) fn embedded_path(config: &Config) -> Result<PathBuf, Failure> {
    match config.database()? {
        Database::Sqlite(path) => Ok(path),
        Database::Postgres(_) => Err(Failure::input(
            "database_url names a deployment's store, and this command runs a job in this process",
        )
        .hint("`etl submit FILE --wait` hands it to the deployment's workers; or name a file: `--database-url sqlite://PATH`")),
    }
}

/// Who runs the jobs of a store that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workers {
    /// This process, the one server of its file.
    Here,
    /// The processes of a deployment, or the server of the file.
    Elsewhere,
}

/// Tells others that this process runs whatever jobs are handed in. A Postgres needs nobody to say so.
pub(crate) fn announce_worker(config: &Config) -> Result<(), Failure> {
    if let Database::Sqlite(path) = config.database()? {
        SqliteStore::announce_worker(path)?;
    }
    Ok(())
}

/// The store to have jobs run that it remembers: as its one server, or beside whoever runs them.
pub(crate) async fn run_remembered(config: &Config) -> Result<(OpenStore, Workers), Failure> {
    let path = match config.database()? {
        Database::Sqlite(path) if path.exists() => path,
        Database::Sqlite(_) => return Err(no_database(config)),
        Database::Postgres(_) => return Ok((look(config).await?, Workers::Elsewhere)),
    };
    match SqliteStore::open(&path, Arc::new(SystemClock)).await {
        Ok(store) => {
            let store = store.keep_logs(config.log_days);
            Ok((OpenStore::sqlite(store), Workers::Here))
        }
        // An `etl run` has the file for its own job.
        Err(error) if error.kind == StoreErrorKind::InUse && SqliteStore::has_worker(&path) => {
            Ok((look(config).await?, Workers::Elsewhere))
        }
        Err(error) => Err(error.into()),
    }
}

/// The store's tables, brought up to this version.
pub(crate) async fn migrate(config: &Config) -> Result<OpenStore, Failure> {
    match config.database()? {
        Database::Sqlite(path) => Ok(OpenStore::sqlite(file(path).await?)),
        Database::Postgres(url) => postgres(&url, FOR_EVER).await,
    }
}

/// Whether other processes run the jobs that are submitted.
pub(crate) fn has_workers(config: &Config) -> Result<bool, Failure> {
    Ok(matches!(config.database()?, Database::Postgres(_)))
}

/// The store beside whoever serves it, to read and to change what may be changed beside a server.
pub(crate) async fn look(config: &Config) -> Result<OpenStore, Failure> {
    look_if_there(config)
        .await?
        .ok_or_else(|| no_database(config))
}

/// The store beside whoever serves it, if there is one.
pub(crate) async fn look_if_there(config: &Config) -> Result<Option<OpenStore>, Failure> {
    let found = match config.database()? {
        Database::Sqlite(path) => SqliteStore::open_shared(path, Arc::new(SystemClock))
            .await
            .map(OpenStore::sqlite),
        Database::Postgres(url) => {
            PostgresStore::open_shared(&url, etl_store_postgres::Options::default())
                .await
                .map(OpenStore::postgres)
        }
    };
    match found {
        Ok(store) => Ok(Some(store)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The store to change what it remembers, beside whoever serves it. A file that nobody serves is brought up to this version.
pub(crate) async fn manage(config: &Config) -> Result<OpenStore, Failure> {
    match (config.database()?, look_if_there(config).await) {
        // Opened as its server it is mended, or says again why not.
        (Database::Sqlite(_), Err(_)) => {
            migrate(config).await?.close().await;
            look(config).await
        }
        (_, found) => found?.ok_or_else(|| no_database(config)),
    }
}

/// The same, made if there is none. A deployment's tables are brought up too.
pub(crate) async fn manage_or_make(config: &Config) -> Result<OpenStore, Failure> {
    match config.database()? {
        Database::Sqlite(path) if path.exists() => manage(config).await,
        Database::Sqlite(_) => look_or_make(config).await,
        Database::Postgres(_) => migrate(config).await,
    }
}

/// The store beside whoever serves it, made if there is none: to hand in pipelines, jobs and credentials.
pub(crate) async fn look_or_make(config: &Config) -> Result<OpenStore, Failure> {
    if let Some(store) = look_if_there(config).await? {
        return Ok(store);
    }
    migrate(config).await?.close().await;
    look(config).await
}

/// What hints at jobs that wait.
pub(crate) fn queue(config: &Config, store: &OpenStore) -> Result<Arc<dyn Queue>, Failure> {
    Ok(match config.queue()? {
        QueueKind::Store => match store.as_postgres() {
            Some(store) => Arc::new(store.queue()),
            // One process has the file: hints stay in it.
            None => Arc::new(MemoryQueue::new()),
        },
        QueueKind::Amqp(url) => amqp(&url)?,
    })
}

/// The queue on RabbitMQ.
fn amqp(url: &str) -> Result<Arc<dyn Queue>, Failure> {
    let queue = AmqpQueue::open(url, AmqpOptions::default()).map_err(|error| {
        unreachable("the queue can't be used")
            .because(error)
            .hint("queue_url looks like amqp://user:password@host:5672/vhost")
    })?;
    Ok(Arc::new(queue))
}

/// What tells watchers, also those in this process.
pub(crate) fn events(config: &Config, store: &OpenStore) -> Result<Arc<dyn EventBus>, Failure> {
    Ok(shared_events(config, store)?.unwrap_or_else(|| Arc::new(MemoryEvents::default())))
}

/// What tells watchers of what other processes do, if there is anything that does.
pub(crate) fn shared_events(
    config: &Config,
    store: &OpenStore,
) -> Result<Option<Arc<dyn EventBus>>, Failure> {
    Ok(match (config.events()?, store.as_postgres()) {
        (EventsKind::Redis(url), _) => Some(Arc::new(redis(&url)?.events())),
        (EventsKind::Postgres, Some(store)) => Some(Arc::new(store.events())),
        (EventsKind::Memory | EventsKind::Postgres, _) => None,
    })
}

/// Asks Redis for a sign of life, if events go over it. Whether they do.
pub(crate) async fn reach_events(config: &Config) -> Result<bool, Failure> {
    let EventsKind::Redis(url) = config.events()? else {
        return Ok(false);
    };
    redis(&url)?.ping().await.map_err(|error| {
        unreachable("Redis can't be reached")
            .because(error)
            .hint("jobs run all the same, and whoever waits for one asks the store; see events_url and the server")
    })?;
    Ok(true)
}

/// How often the API may be asked: counted by all processes together, if events go over Redis.
pub(crate) fn limits(config: &Config) -> Result<Limits, Failure> {
    let limiter = match config.events()? {
        EventsKind::Redis(url) => redis(&url)?.limits(),
        EventsKind::Memory | EventsKind::Postgres => RateLimiter::local(),
    };
    Limits::new(limiter, config.rate_limit).map_err(|error| {
        Failure::input("rate_limit can't be kept")
            .because(error)
            .hint("it is how many requests a minute somebody may make, 0 for any number")
    })
}

/// Redis need not be there: nothing depends on it.
fn redis(url: &str) -> Result<Redis, Failure> {
    Redis::open(url, &RedisOptions::default())
        .map_err(|error| unreachable("redis can't be used").because(error))
}

/// Connects to RabbitMQ and lets go of it.
pub(crate) async fn reach_amqp(url: &str) -> Result<(), Failure> {
    let queue = AmqpQueue::connect(url, AmqpOptions::default());
    let queue = queue.await.map_err(|error| {
        unreachable("RabbitMQ can't be reached")
            .because(error)
            .hint("jobs run all the same: workers find them by asking the store; see queue_url and the broker")
    })?;
    queue.close().await;
    Ok(())
}

/// A file as its one server, made if it is missing.
async fn file(path: PathBuf) -> Result<SqliteStore, Failure> {
    Ok(SqliteStore::open(path, Arc::new(SystemClock)).await?)
}

async fn postgres(url: &str, log_days: u32) -> Result<OpenStore, Failure> {
    let options = etl_store_postgres::Options {
        log_days: Some(log_days),
        ..Default::default()
    };
    let store = PostgresStore::open(url, options).await?;
    Ok(OpenStore::postgres(store))
}

fn no_database(config: &Config) -> Failure {
    match embedded_path(config) {
        Ok(path) => Failure::input(format!("there is no database at {}", path.display()))
            .hint("`etl run FILE` makes it; or name another one by `--database-url`"),
        Err(_) => Failure::input("the database that database_url names has no tables of ours yet")
            .hint("`etl migrate` makes them, and so does the start of `etl serve`"),
    }
}

/// Artifacts as the configuration says.
pub(crate) fn artifacts(config: &Config) -> Result<ArtifactStorage, Failure> {
    storage::open(&config.storage_url)
}

/// The vault over the store, with the keys that the configuration and the environment name. Nothing is read yet.
pub(crate) fn vault(config: &Config, store: &OpenStore) -> Result<Vault, Failure> {
    let source = KeySource {
        file: config.master_key_file.clone(),
        // Machines of a deployment would each make another one.
        may_make_file: matches!(config.database()?, Database::Sqlite(_)),
        passphrase: passphrase("ETL_MASTER_PASSPHRASE")?,
        old_passphrase: passphrase("ETL_MASTER_PASSPHRASE_OLD")?,
    };
    let keeper = SecondFactors(store.accounts());
    Ok(Vault::new(store.store().clone(), source).with_keeper(Arc::new(keeper)))
}

/// What opens credentials for jobs. It is refused if a stored credential's key is not at hand.
pub(crate) async fn credentials(
    config: &Config,
    store: &OpenStore,
) -> Result<Arc<dyn Credentials>, Failure> {
    let vault = vault(config, store)?;
    vault.check().await?;
    Ok(Arc::new(vault))
}

/// A passphrase: by the environment alone, because `etl.toml` is a file that is shown and shared.
fn passphrase(variable: &str) -> Result<Option<Passphrase>, Failure> {
    match std::env::var(variable) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => match Passphrase::new(text) {
            Ok(passphrase) => Ok(Some(passphrase)),
            Err(error) => Err(Failure::input(format!("{variable} can't be used")).because(error)),
        },
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::input(format!("{variable} is not UTF-8")))
        }
    }
}

/// An engine over the store with what the configuration says beside it.
pub(crate) async fn engine(config: &Config, store: &OpenStore) -> Result<EtlBuilder, Failure> {
    Ok(Etl::builder()
        .registry(registry())
        .store(Arc::clone(store.store()))
        .credentials(credentials(config, store).await?)
        .storage(artifacts(config)?))
}

/// The engine over the store, for the jobs that it is handed and no others.
pub(crate) async fn own_engine(
    config: &Config,
    store: &OpenStore,
    parallelism: u16,
) -> Result<EtlBuilder, Failure> {
    let builder = engine(config, store).await?;
    Ok(builder.scope(Scope::Own).max_steps(parallelism.into()))
}

/// A system that a deployment needs and that can't be used.
pub(crate) fn unreachable(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Unreachable, message)
}
