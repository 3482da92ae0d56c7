//! Publishes hints for jobs that wait. `pending` is the outbox: a crash between publishing and marking leaves it so, and
//! the job is published again.

use std::sync::Arc;
use std::time::Duration;

use crate::contract::Queue;
use crate::contract::store::JobStore;
use crate::model::JobId;

/// The most jobs in one round.
const ROUND: usize = 512;

/// Publishes waiting jobs.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    store: Arc<dyn JobStore>,
    queue: Arc<dyn Queue>,
}

/// Why a round of the dispatcher failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// The store can't say what waits.
    #[error(transparent)]
    Store(#[from] crate::contract::StoreError),
    /// The queue takes no hints. Workers find the jobs by polling.
    #[error(transparent)]
    Queue(#[from] crate::contract::QueueError),
}

impl Dispatcher {
    /// From this store to this queue.
    pub fn new(store: Arc<dyn JobStore>, queue: Arc<dyn Queue>) -> Self {
        Self { store, queue }
    }

    /// One round: publishes what has been `pending` for `older_than`, and marks it. Answers how many jobs.
    ///
    /// # Errors
    /// If the store or the queue can't be reached; what was not marked comes again.
    pub async fn tick(&self, older_than: Duration) -> Result<usize, DispatchError> {
        let hints = self.store.waiting(older_than, ROUND).await?;
        if hints.is_empty() {
            return Ok(0);
        }
        self.queue.publish(&hints).await?;
        let jobs: Vec<JobId> = hints.iter().map(|hint| hint.job).collect();
        self.store.dispatched(&jobs).await?;
        Ok(jobs.len())
    }
}
