//! The event bus of one process.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::contract::{EventBus, EventError, Received, Subscription};
use crate::model::{Event, JobId};

/// An event bus in memory. Every watcher has its own place in one ring; who falls behind by more than the ring misses the
/// oldest. `Missed` counts notices of all jobs, also for a watcher of one.
#[derive(Debug)]
pub struct MemoryEvents {
    sender: broadcast::Sender<Arc<Event>>,
}

impl MemoryEvents {
    /// A bus on which a watcher may fall behind by `capacity` notices (at least 1; rounded up to a power of two).
    pub fn new(capacity: usize) -> Self {
        Self {
            sender: broadcast::Sender::new(capacity.clamp(1, 1 << 24)),
        }
    }
}

impl Default for MemoryEvents {
    fn default() -> Self {
        Self::new(4096)
    }
}

#[async_trait]
impl EventBus for MemoryEvents {
    async fn publish(&self, events: Vec<Event>) -> Result<(), EventError> {
        if self.sender.receiver_count() > 0 {
            for event in events {
                // Without a watcher there is nobody to tell.
                let _ = self.sender.send(Arc::new(event));
            }
        }
        Ok(())
    }

    async fn subscribe(&self, job: Option<JobId>) -> Result<Box<dyn Subscription>, EventError> {
        Ok(Box::new(MemorySubscription {
            receiver: self.sender.subscribe(),
            job,
        }))
    }
}

#[derive(Debug)]
struct MemorySubscription {
    receiver: broadcast::Receiver<Arc<Event>>,
    job: Option<JobId>,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Option<Received> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if self.job.is_none_or(|job| job == event.job_id) => {
                    return Some(Received::Event(Arc::unwrap_or_clone(event)));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(count)) => return Some(Received::Missed(count)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
