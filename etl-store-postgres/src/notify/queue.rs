//! The store as the queue: every process hears of every job that waits, and the claim decides who gets it.

use std::fmt;

use async_trait::async_trait;
use etl_core::contract::{Delivery, Queue, QueueError, QueueErrorKind};
use etl_core::memory::MemoryQueue;
use etl_core::model::{BoxError, DeadLetter, Hint, JobId};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::{Hear, ReadyFlag, channel, listen, send};
use crate::store::PostgresStore;

/// Hints that may wait in a process that has no room. More are not worth keeping: the store is asked when there is room again.
const WAITING: usize = 4096;

/// A queue without a broker, over the store's own database.
///
/// Hints go to all processes, so that one which is busy is no reason to wait; those that come too late find that there is
/// nothing to claim. What nobody hears is found by asking the store (every 2 to 10 seconds). Dead letters are rows already.
pub struct PostgresQueue {
    pool: PgPool,
    channel: String,
    hints: MemoryQueue,
    listener: JoinHandle<()>,
    ready: ReadyFlag,
}

impl PostgresStore {
    /// The store as a queue.
    pub fn queue(&self) -> PostgresQueue {
        let pool = self.notices().clone();
        let channel = channel(self.schema(), "hints");
        let (hints, ready) = (MemoryQueue::new(), ReadyFlag::new());
        let ear = Ear {
            hints: hints.clone(),
        };
        PostgresQueue {
            listener: listen(pool.clone(), channel.clone(), ready.clone(), ear),
            pool,
            channel,
            hints,
            ready,
        }
    }
}

impl PostgresStore {
    /// Tells the processes that listen of jobs that wait, without listening itself.
    ///
    /// # Errors
    /// `Unavailable` if the database can't be reached; then they find the jobs when they next ask for some.
    pub async fn hint(&self, hints: &[Hint]) -> Result<(), QueueError> {
        tell(self.notices(), &channel(self.schema(), "hints"), hints).await
    }
}

async fn tell(pool: &PgPool, channel: &str, hints: &[Hint]) -> Result<(), QueueError> {
    let failed = |source: BoxError| QueueError {
        op: "publish",
        kind: QueueErrorKind::Unavailable,
        source: Some(source),
    };
    let text = serde_json::to_string(hints).map_err(|error| failed(error.into()))?;
    send(pool, channel, &text)
        .await
        .map_err(|error| failed(error.into()))
}

struct Ear {
    hints: MemoryQueue,
}

impl Hear for Ear {
    fn hear(&mut self, text: &str) {
        match serde_json::from_str::<Vec<Hint>>(text) {
            Ok(hints) if self.hints.len() < WAITING => self.hints.add(&hints),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a notification is no hint"),
        }
    }

    fn missed(&mut self) {
        // The workers ask the store anyway.
    }
}

#[async_trait]
impl Queue for PostgresQueue {
    async fn publish(&self, hints: &[Hint]) -> Result<(), QueueError> {
        // A hint that is sent before this process listens would not come back to it.
        self.ready.wait().await;
        tell(&self.pool, &self.channel, hints).await
    }

    async fn next(&self, max: usize) -> Result<Vec<Box<dyn Delivery>>, QueueError> {
        self.hints.next(max).await
    }

    async fn bury(&self, _: JobId, _: &DeadLetter) -> Result<(), QueueError> {
        Ok(())
    }
}

impl Drop for PostgresQueue {
    fn drop(&mut self) {
        self.listener.abort();
        self.hints.close();
    }
}

impl fmt::Debug for PostgresQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresQueue")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}
