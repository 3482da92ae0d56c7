//! The queue of one process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::contract::{Delivery, Queue, QueueError, QueueErrorKind};
use crate::model::{DeadLetter, Hint, JobId};

/// How many dead letters are kept to be looked at; the store has them all.
const LETTERS: usize = 1000;

/// A queue in memory: a band for each priority, first in, first out within one. Cheap to clone; clones are the same queue.
#[derive(Debug, Clone, Default)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes whoever waits for hints.
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Band n holds priority n.
    bands: [VecDeque<Hint>; 10],
    letters: VecDeque<(JobId, DeadLetter)>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn band(&mut self, hint: Hint) -> &mut VecDeque<Hint> {
        &mut self.bands[usize::from(hint.priority.min(9))]
    }

    fn take(&mut self, max: usize) -> Vec<Hint> {
        let mut hints = Vec::new();
        for band in self.bands.iter_mut().rev() {
            let room = max - hints.len();
            hints.extend(band.drain(..band.len().min(room)));
        }
        hints
    }
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many hints wait.
    pub fn len(&self) -> usize {
        self.shared.lock().bands.iter().map(VecDeque::len).sum()
    }

    /// Whether no hint waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds hints at once, for a queue that hears of them elsewhere. A closed one forgets them.
    pub fn add(&self, hints: &[Hint]) {
        let mut state = self.shared.lock();
        if state.closed {
            return;
        }
        for hint in hints {
            state.band(*hint).push_back(*hint);
        }
        drop(state);
        self.shared.news.notify_waiters();
    }

    /// Closes it: hints that are left are gone, and every call answers `Closed` from now on, also one that waits.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.bands = <[VecDeque<Hint>; 10]>::default();
        drop(state);
        self.shared.news.notify_waiters();
    }

    /// The last dead letters (at most 1,000), oldest first.
    pub fn dead_letters(&self) -> Vec<(JobId, DeadLetter)> {
        self.shared.lock().letters.iter().cloned().collect()
    }
}

fn closed(op: &'static str) -> QueueError {
    QueueError {
        op,
        kind: QueueErrorKind::Closed,
        source: None,
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn publish(&self, hints: &[Hint]) -> Result<(), QueueError> {
        if self.shared.lock().closed {
            return Err(closed("publish"));
        }
        self.add(hints);
        Ok(())
    }

    async fn next(&self, max: usize) -> Result<Vec<Box<dyn Delivery>>, QueueError> {
        loop {
            let news = self.shared.news.notified();
            tokio::pin!(news);
            // Listening begins before looking, so that nothing comes unseen between the two.
            news.as_mut().enable();
            let hints = {
                let mut state = self.shared.lock();
                if state.closed {
                    return Err(closed("next"));
                }
                state.take(max)
            };
            if !hints.is_empty() || max == 0 {
                return Ok(hints
                    .into_iter()
                    .map(|hint| -> Box<dyn Delivery> {
                        Box::new(MemoryDelivery {
                            hint,
                            back_to: Some(self.shared.clone()),
                        })
                    })
                    .collect());
            }
            news.await;
        }
    }

    async fn bury(&self, job: JobId, letter: &DeadLetter) -> Result<(), QueueError> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(closed("bury"));
        }
        if state.letters.len() == LETTERS {
            state.letters.pop_front();
        }
        state.letters.push_back((job, letter.clone()));
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryDelivery {
    hint: Hint,
    /// Where it goes back to; `None` once it was acknowledged.
    back_to: Option<Arc<Shared>>,
}

#[async_trait]
impl Delivery for MemoryDelivery {
    fn hint(&self) -> Hint {
        self.hint
    }

    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        self.back_to = None;
        Ok(())
    }
}

impl Drop for MemoryDelivery {
    fn drop(&mut self) {
        if let Some(queue) = self.back_to.take() {
            let mut state = queue.lock();
            if !state.closed {
                state.band(self.hint).push_front(self.hint);
            }
            drop(state);
            queue.news.notify_waiters();
        }
    }
}
