//! Events over Redis's pub/sub. A notice is sent at most once and never waited for: what could not be told is counted, and
//! watchers are told that there is something to read in the store.
//!
//! One task has the one connection, for telling and for hearing. Redis hands messages out in the order in which it was told, so
//! over one connection a watcher begins exactly where the server says that it does.

mod heard;
mod outbox;
mod teller;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::{EventBus, EventError, Received, Subscription};
use etl_core::model::{Event, JobId};
use tokio::task::JoinHandle;

use crate::address::Address;
use heard::{Heard, Watch};
use outbox::{Message, Outbox};
use teller::Teller;

/// How long `publish` waits for its notices to be sent while Redis is there. It keeps whoever publishes from running ahead of
/// the connection, and a process that stops from leaving before its last notices are out.
const HOLD: Duration = Duration::from_millis(250);

/// The longest notice that is sent; a longer one is counted as missed.
const LONGEST: usize = 1024 * 1024;

/// An event bus between all processes that share a server and a prefix.
///
/// - `publish` never fails and waits for at most a quarter of a second, and not at all while Redis is known to be away.
///   Notices then stand in line, up to a bound; those beyond it are counted.
/// - A watcher is told that notices are [`Missed`](Received::Missed) when the connection is lost, with every vain try to
///   connect (so that it reads the store every second or two), when the connection is back, and when another process could
///   not tell something. The count is then the least that it can be.
/// - Notices stop when the bus is dropped.
pub struct RedisEvents {
    shared: Arc<Shared>,
    teller: JoinHandle<()>,
}

/// What the bus, its task and its watchers have in common.
struct Shared {
    address: Arc<Address>,
    outbox: Outbox,
    heard: Arc<Heard>,
}

/// How the bus is doing, counted since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EventCounts {
    /// Whether Redis can be reached.
    pub is_connected: bool,
    /// How often a connection was lost or could not be made.
    pub failures: u64,
    /// Notices that Redis has taken.
    pub published: u64,
    /// Notices that were not sent, or nobody knows whether they were.
    pub dropped: u64,
}

impl RedisEvents {
    pub(crate) fn start(address: Arc<Address>) -> Self {
        let shared = Arc::new(Shared {
            heard: Arc::new(Heard::new(address.names().clone())),
            address,
            outbox: Outbox::default(),
        });
        let teller = Teller::new(Arc::clone(&shared));
        Self {
            teller: tokio::spawn(teller.run()),
            shared,
        }
    }

    /// How it is doing.
    pub fn counts(&self) -> EventCounts {
        self.shared.outbox.counts()
    }
}

impl Shared {
    fn message(&self, event: &Event) -> Message {
        match serde_json::to_vec(event) {
            Ok(payload) if payload.len() <= LONGEST => Message::Event {
                channel: self.address.names().channel(event),
                payload,
            },
            _ => Message::Missed(1),
        }
    }
}

#[async_trait]
impl EventBus for RedisEvents {
    async fn publish(&self, events: Vec<Event>) -> Result<(), EventError> {
        if events.is_empty() {
            return Ok(());
        }
        let messages = events.iter().map(|event| self.shared.message(event));
        let outbox = &self.shared.outbox;
        let end = outbox.add(messages.collect());
        // Whether they were sent or counted is not the caller's to mend.
        let _ = tokio::time::timeout(HOLD, outbox.settled(end)).await;
        Ok(())
    }

    async fn subscribe(&self, job: Option<JobId>) -> Result<Box<dyn Subscription>, EventError> {
        let watch = Heard::watch(&self.shared, job);
        let inner = match self.shared.outbox.ask(job) {
            // Connecting, sending what is in line, and asking.
            Some(begun) => tokio::time::timeout(self.shared.address.time_limit() * 4, begun).await,
            None => Ok(None),
        };
        let inner = match inner {
            Ok(Some(begun)) => begun,
            // Redis is away. The watcher hears as soon as it is back, and that it missed something.
            Ok(None) | Err(_) => self.shared.heard.subscribe(job).await,
        };
        Ok(Box::new(Watcher {
            inner,
            _watch: watch,
        }))
    }
}

impl Drop for RedisEvents {
    fn drop(&mut self) {
        self.teller.abort();
        self.shared.heard.close();
    }
}

impl fmt::Debug for RedisEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEvents")
            .field("address", &self.shared.address)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Watcher {
    inner: Box<dyn Subscription>,
    /// Ends the server's subscription with the last watcher.
    _watch: Watch,
}

#[async_trait]
impl Subscription for Watcher {
    async fn next(&mut self) -> Option<Received> {
        self.inner.next().await
    }
}
