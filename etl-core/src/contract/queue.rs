//! The queue contract: hints that work exists.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::model::{BoxError, DeadLetter, Hint, JobId};

/// Carries hints from dispatchers to workers.
///
/// # Contract
/// Between the dispatcher and workers. Losing, doubling or reordering hints MUST change no outcome; the store is the truth.
/// Conformance: `etl_core::queue_conformance!`.
///
/// - `publish` MUST return only when the queue would survive its own restart with the hints, if it survives one at all.
/// - `next` MUST wait until there is at least one hint, and give at most `max`; hints of a higher priority first, within one
///   priority in the order of publication. (With `max` 0 it gives nothing at once.)
/// - A delivery that is dropped without `ack` MUST be delivered again.
#[async_trait]
pub trait Queue: Debug + Send + Sync + 'static {
    /// Returns when each hint is confirmed.
    async fn publish(&self, hints: &[Hint]) -> Result<(), QueueError>;
    /// Waits for hints; `max` is the number of free slots, which is the back-pressure. Dropping the future loses nothing.
    async fn next(&self, max: usize) -> Result<Vec<Box<dyn Delivery>>, QueueError>;
    /// Publishes a dead letter for whoever looks after them.
    async fn bury(&self, job: JobId, letter: &DeadLetter) -> Result<(), QueueError>;
}

/// A hint in a worker's hands.
#[async_trait]
pub trait Delivery: Debug + Send {
    /// The hint.
    fn hint(&self) -> Hint;
    /// It need not be delivered again.
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;
}

/// Why the queue failed.
#[derive(Debug, thiserror::Error)]
#[error("queue, {op}: {kind}")]
pub struct QueueError {
    /// What was tried.
    pub op: &'static str,
    /// What the caller can do.
    pub kind: QueueErrorKind,
    /// What caused it.
    #[source]
    pub source: Option<BoxError>,
}

/// What the caller can do about a [`QueueError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueErrorKind {
    /// It can't be reached: go on by polling the store, and try again.
    #[error("the queue can't be reached")]
    Unavailable,
    /// It is closed: stop.
    #[error("the queue is closed")]
    Closed,
}
