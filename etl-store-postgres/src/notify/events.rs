//! Events by notifications of the store's database.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use etl_core::contract::{EventBus, EventError, Subscription};
use etl_core::memory::MemoryEvents;
use etl_core::model::{Event, JobId};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Hear, PATIENCE, ReadyFlag, channel, listen, send};
use crate::store::PostgresStore;

/// An event bus between the processes that share a database. What comes while the connection is lost is told to watchers as missed:
/// they read the store.
pub struct PostgresEvents {
    pool: PgPool,
    channel: String,
    heard: Arc<Heard>,
    listener: JoinHandle<()>,
    ready: ReadyFlag,
}

impl PostgresStore {
    /// The store's database as an event bus.
    pub fn events(&self) -> PostgresEvents {
        let pool = self.notices().clone();
        let channel = channel(self.schema(), "events");
        let (heard, ready) = (Arc::<Heard>::default(), ReadyFlag::new());
        let ear = Ear(Arc::clone(&heard));
        PostgresEvents {
            listener: listen(pool.clone(), channel.clone(), ready.clone(), ear),
            pool,
            channel,
            heard,
            ready,
        }
    }
}

/// What a notification tells.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Notice {
    Events(Vec<Event>),
    /// Everything that was sent before has been heard.
    Mark(Uuid),
}

#[derive(Default)]
struct Heard {
    events: MemoryEvents,
    marks: Mutex<HashMap<Uuid, oneshot::Sender<()>>>,
}

impl Heard {
    fn marks(&self) -> MutexGuard<'_, HashMap<Uuid, oneshot::Sender<()>>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ear(Arc<Heard>);

impl Hear for Ear {
    fn hear(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(Notice::Events(events)) => self.0.events.tell(events),
            Ok(Notice::Mark(id)) => {
                let waits = self.0.marks().remove(&id);
                // Marks of other processes wait for nobody here.
                let _ = waits.map(|mark| mark.send(()));
            }
            Err(error) => {
                tracing::debug!(%error, "a notification is no event");
                self.0.events.tell_missed(None, 1);
            }
        }
    }

    fn missed(&mut self) {
        self.0.events.tell_missed(None, 1);
    }
}

impl PostgresEvents {
    async fn tell(&self, notice: &Notice) -> Result<(), EventError> {
        let failed = |source| EventError {
            source: Some(source),
        };
        let text = serde_json::to_string(notice).map_err(|error| failed(error.into()))?;
        send(&self.pool, &self.channel, &text)
            .await
            .map_err(|error| failed(error.into()))
    }
}

#[async_trait]
impl EventBus for PostgresEvents {
    async fn publish(&self, events: Vec<Event>) -> Result<(), EventError> {
        if events.is_empty() {
            return Ok(());
        }
        self.tell(&Notice::Events(events)).await
    }

    async fn subscribe(&self, job: Option<JobId>) -> Result<Box<dyn Subscription>, EventError> {
        self.ready.wait().await;
        // What was published before is not for this watcher: it begins where its own mark comes back.
        let (id, (mark, heard)) = (Uuid::now_v7(), oneshot::channel());
        self.heard.marks().insert(id, mark);
        if self.tell(&Notice::Mark(id)).await.is_ok() {
            let _ = tokio::time::timeout(PATIENCE, heard).await;
        }
        self.heard.marks().remove(&id);
        self.heard.events.subscribe(job).await
    }
}

impl Drop for PostgresEvents {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl fmt::Debug for PostgresEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEvents")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}
