//! The embedded deployment: one SQLite file and one folder.

use std::sync::Arc;

use etl_core::artifact::ArtifactStorage;
use etl_core::registry::Registry;
use etl_core::runtime::{Scope, SystemClock};
use etl_core::sdk::Etl;
use etl_store_sqlite::SqliteStore;

use crate::config::Config;
use crate::failure::{Exit, Failure};

/// Everything that this program can do in a step.
pub(crate) fn registry() -> Registry {
    etl_connectors::builtin()
}

/// The store as its one server: to run jobs. Makes it if there is none.
pub(crate) async fn serve(config: &Config) -> Result<Arc<SqliteStore>, Failure> {
    let path = config.database_path()?;
    Ok(Arc::new(
        SqliteStore::open(path, Arc::new(SystemClock)).await?,
    ))
}

/// The store as its one server, to run what it remembers.
pub(crate) async fn serve_remembered(config: &Config) -> Result<Arc<SqliteStore>, Failure> {
    if config.database_path()?.exists() {
        serve(config).await
    } else {
        Err(no_database(config))
    }
}

/// The store beside whoever serves it: to read, and to ask for a job's end.
pub(crate) async fn look(config: &Config) -> Result<SqliteStore, Failure> {
    look_if_there(config)
        .await?
        .ok_or_else(|| no_database(config))
}

/// The store beside whoever serves it, if there is one.
pub(crate) async fn look_if_there(config: &Config) -> Result<Option<SqliteStore>, Failure> {
    let path = config.database_path()?;
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(
        SqliteStore::open_shared(path, Arc::new(SystemClock)).await?,
    ))
}

fn no_database(config: &Config) -> Failure {
    let path = config.database_path().unwrap_or_default();
    Failure::input(format!("there is no database at {}", path.display()))
        .hint("`etl run FILE` makes it; or name another one by `--database-url`")
}

/// The engine over the store, for the jobs that it is handed and no others.
pub(crate) fn engine(
    config: &Config,
    store: Arc<SqliteStore>,
    parallelism: u16,
) -> Result<Etl, Failure> {
    let storage = ArtifactStorage::folder(config.storage_path()?).map_err(|error| {
        Failure::new(Exit::Unreachable, "artifacts can't be stored")
            .because(error)
            .hint("see that the folder can be written to, or name another one by `--storage-url`")
    })?;
    let builder = Etl::builder()
        .registry(registry())
        .store(store)
        .storage(storage);
    Ok(builder
        .scope(Scope::Own)
        .max_steps(parallelism.into())
        .build())
}
