//! The reference implementations of the contracts, in this process's memory: what tests run on and other backends are
//! compared with. They forget everything when they are dropped.

mod accounts;
mod audit;
mod catalog;
mod commit;
mod credentials;
mod events;
mod figures;
mod hooks;
mod jobs;
mod journal;
mod letters;
mod line;
mod queue;
mod retention;
mod row;
mod schedules;
mod step;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use events::MemoryEvents;
pub use queue::MemoryQueue;

use crate::contract::Clock;
use crate::model::{JobId, JobStatus, PageRequest, PipelineId, Timestamp};
use accounts::AccountRows;
use audit::AuditRows;
use catalog::Pipelines;
use credentials::Credentials;
use line::{Line, Place};
use row::JobRow;
use schedules::Schedules;

/// A store in memory. One lock, never held over an `await`; every operation costs what it changes or answers, whatever
/// else is in the store.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store whose time is `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// The lock, with the time as it is once the lock is held: times in rows never go back while the clock does not.
    fn lock(&self) -> (MutexGuard<'_, State>, Timestamp) {
        // Every change is validated before it is made, so a panic of another thread can't have left half of one.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state, self.clock.now())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, _) = self.lock();
        f.debug_struct("MemoryStore")
            .field("jobs", &state.jobs.len())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    accounts: AccountRows,
    audit: AuditRows,
    pipelines: Pipelines,
    schedules: Schedules,
    credentials: Credentials,
    jobs: HashMap<JobId, JobRow>,
    /// Idempotency keys.
    keys: HashMap<String, JobId>,
    /// The jobs that repeat a job.
    repeated: HashMap<JobId, BTreeSet<JobId>>,
    /// The jobs that have ended and whose log is not archived, by their end.
    unarchived: BTreeSet<(Timestamp, JobId)>,
    /// Jobs by age, for readers.
    history: BTreeSet<(Timestamp, JobId)>,
    /// The `pending` jobs.
    outbox: BTreeSet<Place>,
    /// The `pending` and `queued` jobs, and how many are running.
    line: Line,
    /// The hooks that wait to start a job, by age.
    hooks_waiting: BTreeSet<(Timestamp, JobId, u32)>,
    /// The leases of running jobs, by end.
    leases: BTreeSet<(Timestamp, JobId)>,
    /// The jobs of each pipeline that have not ended, by age.
    open: HashMap<PipelineId, BTreeSet<(Timestamp, JobId)>>,
}

impl State {
    /// Moves a job that is `from` in the indexes to `to` in its row and in the indexes. The row's own status may have been
    /// set before.
    fn job_moves(&mut self, id: JobId, from: JobStatus, to: JobStatus, now: Timestamp) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let place = job.place();
        job.status = to;
        match from {
            JobStatus::Pending | JobStatus::Queued => {
                if from == JobStatus::Pending {
                    self.outbox.remove(&place);
                }
                if !matches!(to, JobStatus::Pending | JobStatus::Queued) {
                    self.line.leave(job.pipeline.id, job.limit, place);
                }
            }
            JobStatus::Running => {
                if let Some(end) = job.lease_expires_at.take() {
                    self.leases.remove(&(end, id));
                }
                self.line.stopped(job.pipeline.id);
            }
            _ => {}
        }
        if to.is_terminal() {
            self.unarchived.extend(job.completed_at.map(|at| (at, id)));
        }
        if to.is_terminal()
            && let Entry::Occupied(mut open) = self.open.entry(job.pipeline.id)
        {
            open.get_mut().remove(&(job.created_at, id));
            if open.get().is_empty() {
                open.remove();
            }
        }
        match to {
            JobStatus::Pending => {
                job.waiting_since = now;
                self.outbox.insert(place);
                self.line.join(job.pipeline.id, job.limit, place);
            }
            JobStatus::Running => self.line.started(job.pipeline.id),
            _ => {}
        }
    }

    /// Gives a running job's lease a new end.
    fn lease(&mut self, id: JobId, end: Timestamp) {
        if let Some(job) = self.jobs.get_mut(&id) {
            if let Some(old) = job.lease_expires_at.replace(end) {
                self.leases.remove(&(old, id));
            }
            self.leases.insert((end, id));
        }
    }
}

/// The page size that a request comes down to.
fn page_limit(page: &PageRequest) -> usize {
    page.limit.clamp(1, 500)
}
