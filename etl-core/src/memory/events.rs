//! The event bus of one process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::contract::{EventBus, EventError, Received, Subscription};
use crate::model::{Event, JobId};

/// An event bus in memory. Every watcher has a line of its own. Once it is full, notices are missed until the watcher has read
/// it to its end and was told how many. A watcher of one job costs the notices of other jobs nothing.
#[derive(Debug)]
pub struct MemoryEvents {
    capacity: usize,
    watchers: Arc<Mutex<Watchers>>,
}

impl MemoryEvents {
    /// A bus on which so many notices may stand in line for a watcher (at least 1).
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.clamp(1, 1 << 24),
            watchers: Arc::default(),
        }
    }
}

impl MemoryEvents {
    /// Tells events at once, for a bus that hears of them elsewhere.
    pub fn tell(&self, events: Vec<Event>) {
        let watchers = lock(&self.watchers);
        if watchers.of_all.is_empty() && watchers.of_job.is_empty() {
            return;
        }
        for event in events.into_iter().map(Arc::new) {
            for watcher in watchers.of(event.job_id) {
                watcher.tell(&event, self.capacity);
            }
        }
    }

    /// Tells the watchers of a job, or all, that so many notices are gone.
    pub fn tell_missed(&self, job: Option<JobId>, count: u64) {
        let watchers = lock(&self.watchers);
        match job {
            Some(job) => watchers.of(job).for_each(|watcher| watcher.miss(count)),
            None => watchers.all().for_each(|watcher| watcher.miss(count)),
        }
    }
}

impl Default for MemoryEvents {
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Drop for MemoryEvents {
    fn drop(&mut self) {
        let watchers = lock(&self.watchers);
        for watcher in watchers.all() {
            lock(&watcher.line).closed = true;
            watcher.bell.notify_one();
        }
    }
}

/// Who watches: all jobs, or one.
#[derive(Debug, Default)]
struct Watchers {
    next_id: u64,
    of_all: HashMap<u64, Arc<Watcher>>,
    of_job: HashMap<JobId, HashMap<u64, Arc<Watcher>>>,
}

impl Watchers {
    fn all(&self) -> impl Iterator<Item = &Arc<Watcher>> {
        let of_job = self.of_job.values().flat_map(HashMap::values);
        self.of_all.values().chain(of_job)
    }

    fn of(&self, job: JobId) -> impl Iterator<Item = &Arc<Watcher>> {
        let of_job = self.of_job.get(&job).into_iter().flat_map(HashMap::values);
        self.of_all.values().chain(of_job)
    }
}

#[derive(Debug, Default)]
struct Watcher {
    line: Mutex<Line>,
    /// Rung when the line is no longer empty, or closed.
    bell: Notify,
}

#[derive(Debug, Default)]
struct Line {
    events: VecDeque<Arc<Event>>,
    missed: u64,
    closed: bool,
}

impl Watcher {
    fn tell(&self, event: &Arc<Event>, capacity: usize) {
        let mut line = lock(&self.line);
        // After a gap nothing is added before the watcher knows of it, so that it hears of it in its place.
        if line.missed > 0 || line.events.len() >= capacity {
            line.missed = line.missed.saturating_add(1);
            return;
        }
        line.events.push_back(Arc::clone(event));
        if line.events.len() == 1 {
            self.bell.notify_one();
        }
    }

    fn miss(&self, count: u64) {
        let mut line = lock(&self.line);
        line.missed = line.missed.saturating_add(count);
        self.bell.notify_one();
    }
}

#[async_trait]
impl EventBus for MemoryEvents {
    async fn publish(&self, events: Vec<Event>) -> Result<(), EventError> {
        self.tell(events);
        Ok(())
    }

    async fn subscribe(&self, job: Option<JobId>) -> Result<Box<dyn Subscription>, EventError> {
        let watcher = Arc::new(Watcher::default());
        let mut watchers = lock(&self.watchers);
        let id = watchers.next_id;
        watchers.next_id += 1;
        match job {
            Some(job) => watchers.of_job.entry(job).or_default(),
            None => &mut watchers.of_all,
        }
        .insert(id, Arc::clone(&watcher));
        Ok(Box::new(MemorySubscription {
            id,
            job,
            taken: VecDeque::new(),
            watcher,
            watchers: Arc::downgrade(&self.watchers),
        }))
    }
}

#[derive(Debug)]
struct MemorySubscription {
    id: u64,
    job: Option<JobId>,
    /// What was taken out of the line and not given yet: all at once, so that watcher and bus seldom meet.
    taken: VecDeque<Arc<Event>>,
    watcher: Arc<Watcher>,
    watchers: Weak<Mutex<Watchers>>,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Option<Received> {
        // Somebody who reads a full line in a loop must leave others their turn.
        tokio::task::coop::consume_budget().await;
        loop {
            if let Some(event) = self.taken.pop_front() {
                return Some(Received::Event(Arc::unwrap_or_clone(event)));
            }
            {
                let mut line = lock(&self.watcher.line);
                std::mem::swap(&mut line.events, &mut self.taken);
                if self.taken.is_empty() {
                    if line.missed > 0 {
                        return Some(Received::Missed(std::mem::take(&mut line.missed)));
                    }
                    if line.closed {
                        return None;
                    }
                } else {
                    continue;
                }
            }
            self.watcher.bell.notified().await;
        }
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        let Some(watchers) = self.watchers.upgrade() else {
            return;
        };
        let mut watchers = lock(&watchers);
        let Some(job) = self.job else {
            watchers.of_all.remove(&self.id);
            return;
        };
        if let Some(of_job) = watchers.of_job.get_mut(&job) {
            of_job.remove(&self.id);
            if of_job.is_empty() {
                watchers.of_job.remove(&job);
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{EventKind, JobStatus, Timestamp};

    #[tokio::test]
    async fn a_watcher_hears_what_was_said_and_then_of_the_end_of_the_bus() {
        let bus = MemoryEvents::new(1);
        let job_id = JobId(Uuid::nil());
        let mut all = bus.subscribe(None).await.unwrap();
        let mut one = bus.subscribe(Some(job_id)).await.unwrap();
        let event = Event {
            job_id,
            at: Timestamp::from_micros(0),
            kind: EventKind::Job {
                status: JobStatus::Running,
                error_message: None,
            },
        };
        bus.publish(vec![event.clone(), event.clone()])
            .await
            .unwrap();
        drop(bus);
        for watcher in [&mut all, &mut one] {
            assert_eq!(watcher.next().await, Some(Received::Event(event.clone())));
            assert_eq!(watcher.next().await, Some(Received::Missed(1)));
            assert_eq!(watcher.next().await, None);
        }
    }

    #[tokio::test]
    async fn who_no_longer_watches_leaves_nothing_behind() {
        let bus = MemoryEvents::default();
        for job in [None, Some(JobId(Uuid::nil()))] {
            drop(bus.subscribe(job).await.unwrap());
        }
        let watchers = lock(&bus.watchers);
        assert!(watchers.of_all.is_empty() && watchers.of_job.is_empty());
    }
}
