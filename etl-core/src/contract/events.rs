//! The event bus: notices for whoever watches. Never the truth.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::model::{BoxError, Event, JobId};

/// Carries notices from workers to watchers.
///
/// # Contract
/// Between the runtime, which publishes after the store has answered, and watchers. Conformance:
/// `etl_core::event_bus_conformance!`.
///
/// - `publish` MUST NOT wait for a watcher. A watcher that is too slow misses notices and is told how many.
/// - Events of one job published by one process MUST arrive in the order of publication.
/// - A watcher gets what is published after `subscribe` has returned.
#[async_trait]
pub trait EventBus: Debug + Send + Sync + 'static {
    /// Publishes in order.
    async fn publish(&self, events: Vec<Event>) -> Result<(), EventError>;
    /// Watches one job, or all.
    async fn subscribe(&self, job: Option<JobId>) -> Result<Box<dyn Subscription>, EventError>;
}

/// One watcher's end of the bus.
#[async_trait]
pub trait Subscription: Debug + Send + Sync {
    /// The next notice; `None` when the bus is closed. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<Received>;
}

/// What a watcher gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// A notice.
    Event(Event),
    /// The watcher was too slow and so many notices are gone: read the store.
    Missed(u64),
}

/// Why the bus failed. The product goes on without it.
#[derive(Debug, thiserror::Error)]
#[error("the event bus can't be reached")]
pub struct EventError {
    /// What caused it.
    #[source]
    pub source: Option<BoxError>,
}
