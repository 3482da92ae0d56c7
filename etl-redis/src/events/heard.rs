//! What comes over the connection, and who in this process waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use etl_core::contract::{EventBus as _, Subscription};
use etl_core::memory::MemoryEvents;
use etl_core::model::{Event, JobId};
use redis::{PushInfo, PushKind, Value};
use serde::{Deserialize, Serialize};

use super::Shared;
use crate::names::Names;

/// What is told to everybody.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Notification {
    /// So many notices could not be told by their process.
    Missed {
        /// At least so many.
        count: u64,
    },
}

/// The watchers of this process.
///
/// A message comes once by the channel and once by the pattern where both are subscribed, so those who watch all jobs and
/// those who watch one have a bus each.
pub(super) struct Heard {
    names: Names,
    of_all: Mutex<Option<Arc<MemoryEvents>>>,
    of_job: Mutex<Option<Arc<MemoryEvents>>>,
    watched: Mutex<HashMap<Option<JobId>, usize>>,
}

impl Heard {
    pub(super) fn new(names: Names) -> Self {
        let bus = || Mutex::new(Some(Arc::new(MemoryEvents::default())));
        Self {
            names,
            of_all: bus(),
            of_job: bus(),
            watched: Mutex::default(),
        }
    }

    /// Watchers get nothing more.
    pub(super) fn close(&self) {
        lock(&self.of_all).take();
        lock(&self.of_job).take();
    }

    /// Counts one more who watches, until the answer is dropped.
    pub(super) fn watch(shared: &Arc<Shared>, job: Option<JobId>) -> Watch {
        *lock(&shared.heard.watched).entry(job).or_insert(0) += 1;
        Watch {
            shared: Arc::clone(shared),
            job,
        }
    }

    /// Whether somebody watches this job, or with `None` all.
    pub(super) fn is_watched(&self, job: Option<JobId>) -> bool {
        lock(&self.watched).contains_key(&job)
    }

    /// All that is watched.
    pub(super) fn watched(&self) -> Vec<Option<JobId>> {
        lock(&self.watched).keys().copied().collect()
    }

    /// A subscription to what is heard from now on.
    pub(super) async fn subscribe(&self, job: Option<JobId>) -> Box<dyn Subscription> {
        let bus = match job {
            Some(_) => lock(&self.of_job).clone(),
            None => lock(&self.of_all).clone(),
        };
        // One that was closed meanwhile gives a subscription that is at its end.
        let bus = bus.unwrap_or_default();
        match bus.subscribe(job).await {
            Ok(subscription) => subscription,
            Err(_) => Box::new(Ended),
        }
    }

    /// What came over the connection; whether the connection goes on.
    pub(super) fn hear(&self, pushed: &PushInfo) -> bool {
        match (&pushed.kind, &pushed.data[..]) {
            (PushKind::Disconnection, _) => return false,
            (PushKind::Message, [Value::BulkString(channel), Value::BulkString(payload)]) => {
                if channel == self.names.notifications().as_bytes() {
                    self.notified(payload);
                } else {
                    self.told(&self.of_job, channel, payload);
                }
            }
            (PushKind::PMessage, [_, Value::BulkString(channel), Value::BulkString(payload)]) => {
                self.told(&self.of_all, channel, payload);
            }
            _ => {}
        }
        true
    }

    fn told(&self, to: &Mutex<Option<Arc<MemoryEvents>>>, channel: &[u8], payload: &[u8]) {
        let Some(bus) = lock(to).clone() else {
            return;
        };
        match serde_json::from_slice::<Event>(payload) {
            // One on another job's channel is nobody's.
            Ok(event) if self.names.channel(&event).as_bytes() == channel => bus.tell(vec![event]),
            Ok(_) => tracing::debug!("an event on a channel that is not its own"),
            Err(error) => {
                tracing::debug!(%error, "a message is no event");
                bus.tell_missed(None, 1);
            }
        }
    }

    fn notified(&self, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(Notification::Missed { count }) => self.missed(count),
            // What a newer version tells everybody is not for this one.
            Err(error) => tracing::debug!(%error, "a notification is not known"),
        }
    }

    /// Tells all watchers that at least so many notices are gone.
    pub(super) fn missed(&self, count: u64) {
        for bus in [&self.of_all, &self.of_job] {
            if let Some(bus) = &*lock(bus) {
                bus.tell_missed(None, count);
            }
        }
    }
}

/// Somebody watches.
pub(super) struct Watch {
    shared: Arc<Shared>,
    job: Option<JobId>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watch").field(&self.job).finish()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        {
            let mut watched = lock(&self.shared.heard.watched);
            let Some(count) = watched.get_mut(&self.job) else {
                return;
            };
            *count -= 1;
            if *count > 0 {
                return;
            }
            watched.remove(&self.job);
        }
        self.shared.outbox.unwatch(self.job);
    }
}

/// Nothing comes.
#[derive(Debug)]
struct Ended;

#[async_trait::async_trait]
impl Subscription for Ended {
    async fn next(&mut self) -> Option<etl_core::contract::Received> {
        None
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
