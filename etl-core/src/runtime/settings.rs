//! What the runtime is given: backends, and figures with sane defaults.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::artifact::ArtifactStorage;
use crate::contract::{Clock, Credentials, EventBus, Observer, Queue, Store};
use crate::model::JobId;
use crate::registry::Registry;

/// The systems that a runtime works with. The embedded run and a deployment differ in these and in nothing else.
#[derive(Debug, Clone)]
pub struct Backends {
    /// What remembers.
    pub store: Arc<dyn Store>,
    /// What hints.
    pub queue: Arc<dyn Queue>,
    /// What tells watchers.
    pub events: Arc<dyn EventBus>,
    /// What opens credentials.
    pub credentials: Arc<dyn Credentials>,
    /// Where artifacts go.
    pub storage: ArtifactStorage,
    /// What does the work.
    pub registry: Arc<Registry>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// What counts, if anything does.
    pub observer: Option<Arc<dyn Observer>>,
}

/// Which jobs a worker takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// Whatever waits, and what dead workers left.
    #[default]
    All,
    /// Only the jobs that this runtime was handed, so that a single run leaves older ones alone.
    Own,
}

/// The figures of a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which jobs the worker takes.
    pub scope: Scope,
    /// Only jobs of pipelines that have one of these tags are taken; empty for any. A hint that comes to a worker which does not
    /// take its job is done with, and another finds the job by asking the store, within [`poll`](Self::poll) times five.
    pub tags: Vec<String>,
    /// How many jobs run at once.
    pub max_jobs: usize,
    /// How many steps run at once, over all jobs.
    pub max_steps: usize,
    /// How long a lease is. A dead worker's jobs wait at most this long.
    pub lease: Duration,
    /// How often leases are renewed. At most a quarter of `lease`.
    pub heartbeat: Duration,
    /// How often the store is asked for work that no hint told of, and for hooks (these up to a quarter sooner, as it comes).
    pub poll: Duration,
    /// How often the reaper looks for leases that ran out; up to a quarter sooner, as it comes.
    pub reap: Duration,
    /// How long an attempt may take to stop before it is stopped.
    pub grace: Duration,
    /// How often schedules are looked at, if this runtime fires them. Any number of runtimes over a store may.
    pub schedule: Option<Duration>,
    /// How long jobs are kept after their end, with their artifacts. `None` for ever. Any number of runtimes over a store may see to it.
    pub keep_jobs: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scope: Scope::All,
            tags: Vec::new(),
            max_jobs: 32,
            max_steps: 8,
            lease: Duration::from_secs(20),
            heartbeat: Duration::from_secs(5),
            poll: Duration::from_secs(2),
            reap: Duration::from_secs(2),
            grace: Duration::from_secs(10),
            schedule: None,
            keep_jobs: None,
        }
    }
}

/// The jobs that a runtime was handed and that have not ended, for [`Scope::Own`]. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnJobs(Arc<Mutex<BTreeSet<JobId>>>);

impl OwnJobs {
    pub(crate) fn add(&self, job: JobId) {
        self.lock().insert(job);
    }

    pub(crate) fn remove(&self, job: JobId) {
        self.lock().remove(&job);
    }

    pub(crate) fn has(&self, job: JobId) -> bool {
        self.lock().contains(&job)
    }

    pub(crate) fn all(&self) -> Vec<JobId> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<JobId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
