//! The simulated queue: hints that get lost, come twice, late and in any order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::state::Sim;
use super::trace::{Line, Who};
use crate::contract::{Delivery, Queue, QueueError, QueueErrorKind};
use crate::model::{DeadLetter, Hint, JobId};

/// Hints under way, each with the time at which it may be delivered.
#[derive(Debug, Default)]
pub(super) struct Hints(Vec<(Instant, Hint)>);

/// The queue as one process sees it.
#[derive(Debug, Clone)]
pub(super) struct SimQueue {
    sim: Arc<Sim>,
    who: Who,
}

impl SimQueue {
    pub(super) fn new(sim: &Arc<Sim>, who: Who) -> Self {
        Self {
            sim: Arc::clone(sim),
            who,
        }
    }

    fn is_away(&self, op: &'static str) -> Result<(), QueueError> {
        let mut state = self.sim.lock();
        let per_mille = self.sim.weather(&state).queue_away;
        if state.rng.chance(per_mille) {
            state.note(self.who, Line::Fault(op, "the queue is away"));
            return Err(QueueError {
                op,
                kind: QueueErrorKind::Unavailable,
                source: None,
            });
        }
        Ok(())
    }

    fn put(&self, hint: Hint, after: Duration) {
        let mut state = self.sim.lock();
        state.hints.0.push((Instant::now() + after, hint));
        drop(state);
        self.sim.hinted.notify_waiters();
    }

    /// Up to `max` hints that are due, in any order; else when the next will be.
    fn take(&self, max: usize) -> Result<Vec<Hint>, Option<Instant>> {
        let mut state = self.sim.lock();
        let now = Instant::now();
        let (mut due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut state.hints.0)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        let next = later.iter().map(|(at, _)| *at).min();
        state.hints.0 = later;
        let mut taken = Vec::new();
        while !due.is_empty() && taken.len() < max {
            let at = state.rng.below(due.len() as u64) as usize;
            taken.push(due.swap_remove(at).1);
        }
        state.hints.0.extend(due);
        if taken.is_empty() {
            Err(next)
        } else {
            Ok(taken)
        }
    }
}

#[async_trait]
impl Queue for SimQueue {
    async fn publish(&self, hints: &[Hint]) -> Result<(), QueueError> {
        self.is_away("publish")?;
        for hint in hints {
            let times = {
                let mut state = self.sim.lock();
                let weather = self.sim.weather(&state);
                let soon = state.rng.millis(0, 30);
                let (fate, times) = if state.rng.chance(weather.hint_lost) {
                    ("is lost", vec![])
                } else if state.rng.chance(weather.hint_doubled) {
                    ("is doubled", vec![soon, state.rng.millis(0, 20_000)])
                } else if state.rng.chance(weather.hint_delayed) {
                    ("is delayed", vec![state.rng.millis(1_000, 60_000)])
                } else {
                    ("is published", vec![soon])
                };
                state.note(self.who, Line::Published(hint.job, fate));
                times
            };
            for after in times {
                self.put(*hint, after);
            }
        }
        Ok(())
    }

    async fn next(&self, max: usize) -> Result<Vec<Box<dyn Delivery>>, QueueError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        self.is_away("next")?;
        loop {
            let news = self.sim.hinted.notified();
            tokio::pin!(news);
            // Listening begins before looking, so that nothing comes unseen between the two.
            news.as_mut().enable();
            match self.take(max) {
                Ok(hints) => {
                    return Ok(hints
                        .into_iter()
                        .map(|hint| -> Box<dyn Delivery> {
                            Box::new(SimDelivery {
                                hint,
                                back_to: Some(self.clone()),
                            })
                        })
                        .collect());
                }
                Err(None) => news.await,
                Err(Some(at)) => {
                    tokio::select! {
                        biased;
                        () = news => {}
                        () = sleep_until(at) => {}
                    }
                }
            }
        }
    }

    async fn bury(&self, _: JobId, _: &DeadLetter) -> Result<(), QueueError> {
        Ok(())
    }
}

#[derive(Debug)]
struct SimDelivery {
    hint: Hint,
    /// Where it goes back to; `None` once it was acknowledged.
    back_to: Option<SimQueue>,
}

#[async_trait]
impl Delivery for SimDelivery {
    fn hint(&self) -> Hint {
        self.hint
    }

    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        self.back_to = None;
        Ok(())
    }
}

impl Drop for SimDelivery {
    fn drop(&mut self) {
        if let Some(queue) = self.back_to.take() {
            queue.put(self.hint, Duration::from_millis(10));
        }
    }
}
