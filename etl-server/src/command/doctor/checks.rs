//! Whether what the configuration names can be used, by using it.

use std::time::{Duration, Instant};

use etl_core::contract::Clock;
use etl_core::contract::store::ScheduleStore;
use etl_core::model::{ArtifactName, AttemptKey, JobId, StepKey, Timestamp};
use etl_core::runtime::SystemClock;
use object_store::ObjectStoreExt;

use super::Check;
use crate::config::{Config, Database, QueueKind};
use crate::deployment::{self, OpenStore};
use crate::failure::Failure;

/// How long a system may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than this between the store's clock and ours is worth a word.
const APART: Duration = Duration::from_secs(2);

/// Asks the store the time.
pub(super) async fn store(
    config: &Config,
    store: &OpenStore,
) -> Result<(Check, Timestamp), Failure> {
    let asked = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, ScheduleStore::due(&**store.store(), 0));
    let due = answer
        .await
        .map_err(|_| deployment::unreachable("the store does not answer in time"))??;
    let kind = match config.database()? {
        Database::Sqlite(path) => format!("SQLite file {}", path.display()),
        Database::Postgres(_) => "PostgreSQL".to_owned(),
    };
    let took = asked.elapsed().as_millis();
    let message = format!("{kind}, its tables are up to date, it answers in {took} ms");
    Ok((Check::fine("store", message), due.now))
}

/// Compares the store's clock with this machine's.
pub(super) fn clock(store: Timestamp) -> Check {
    let here = SystemClock.now();
    let apart = here.since(store).max(store.since(here));
    let seconds = apart.as_secs_f64();
    if apart <= APART {
        return Check::fine(
            "clock",
            format!("{seconds:.1} s between this machine's and the store's"),
        );
    }
    Check {
        name: "clock",
        ok: true,
        message: format!(
            "{seconds:.1} s between this machine's and the store's: leases and schedules follow the store's, times in logs don't"
        ),
        hint: Some("have both machines follow the same time server".into()),
    }
}

/// Looks whether the key of every stored credential is at hand.
pub(super) async fn vault(config: &Config, store: &OpenStore) -> Check {
    let looked = async {
        let vault = deployment::vault(config, store)?;
        vault.check().await?;
        Ok::<_, Failure>(())
    };
    match looked.await {
        Ok(()) => Check::fine("vault", "the key of every stored credential is at hand"),
        Err(failure) => Check::wrong("vault", &failure),
    }
}

/// Connects to the queue.
pub(super) async fn queue(config: &Config) -> Check {
    let url = match config.queue() {
        Ok(QueueKind::Store) => return Check::fine("queue", "the store is the queue"),
        Ok(QueueKind::Amqp(url)) => url,
        Err(failure) => return Check::wrong("queue", &failure),
    };
    match tokio::time::timeout(PATIENCE, deployment::reach_amqp(&url)).await {
        Ok(Ok(())) => Check::fine("queue", "RabbitMQ takes and gives hints"),
        Ok(Err(failure)) => Check::wrong("queue", &failure),
        Err(_) => Check::wrong(
            "queue",
            &deployment::unreachable("RabbitMQ does not answer in time")
                .hint("jobs run all the same: workers find them by asking the store"),
        ),
    }
}

/// Asks what carries events, if that is a system of its own.
pub(super) async fn events(config: &Config) -> Check {
    match tokio::time::timeout(PATIENCE, deployment::reach_events(config)).await {
        Ok(Ok(true)) => Check::fine("events", "Redis answers"),
        Ok(Ok(false)) => Check::fine("events", "no system of their own carries them"),
        Ok(Err(failure)) => Check::wrong("events", &failure),
        Err(_) => Check::wrong(
            "events",
            &deployment::unreachable("Redis does not answer in time"),
        ),
    }
}

/// Writes a small object, reads it back and removes it.
pub(super) async fn storage(config: &Config) -> Check {
    match tokio::time::timeout(PATIENCE, try_storage(config)).await {
        Ok(Ok(took)) => Check::fine(
            "storage",
            format!(
                "{}, an object was written, read and removed in {} ms",
                config.storage_url,
                took.as_millis()
            ),
        ),
        Ok(Err(failure)) => Check::wrong("storage", &failure),
        Err(_) => Check::wrong(
            "storage",
            &deployment::unreachable("the storage does not answer in time"),
        ),
    }
}

async fn try_storage(config: &Config) -> Result<Duration, Failure> {
    const TEXT: &[u8] = b"written by etl doctor";
    let failed = |what: &str, error: object_store::Error| {
        deployment::unreachable(format!("the storage can't be {what}"))
            .because(error)
            .hint("see that the folder or the bucket is there and that its keys allow it")
    };
    let asked = Instant::now();
    let storage = deployment::artifacts(config)?;
    let key = AttemptKey {
        job: JobId(uuid::Uuid::now_v7()),
        step: StepKey::step(0),
        attempt: 1,
    };
    let name = ArtifactName::new("doctor.txt")
        .map_err(|error| Failure::input("no name for an object").because(error))?;
    let location = storage.area(&key).location(&name);
    let store = storage.store();
    let put = store.put(&location, TEXT.into()).await;
    put.map_err(|error| failed("written to", error))?;
    let read = async { store.get(&location).await?.bytes().await };
    let read = read.await.map_err(|error| failed("read", error));
    let removed = store.delete(&location).await;
    if read? != TEXT {
        return Err(deployment::unreachable(
            "the storage gives back something else than was written",
        ));
    }
    removed.map_err(|error| failed("cleaned up", error))?;
    Ok(asked.elapsed())
}
