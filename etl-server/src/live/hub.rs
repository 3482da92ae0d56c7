//! The process's one ear on the bus, and how many may watch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etl_core::contract::store::Result;
use etl_core::contract::{EventBus, Received, Store};
use etl_core::model::{Event, EventKind, JobId, JobRecord, UserId};
use tokio::sync::{OnceCell, broadcast};
use tokio_util::sync::CancellationToken;

use super::job::summary;
use super::message::Summary;

/// How many hints a watcher may be behind. One that is further behind looks at everything.
const HINTS: usize = 1024;
/// How long a bus that can't be reached is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// How many connections watch at once, and how many of them may be one user's.
const WATCHERS: usize = 1000;
const WATCHERS_OF_USER: usize = 20;

/// That there may be something to read.
#[derive(Debug, Clone)]
pub(super) enum Hint {
    /// In the log of this job.
    Lines(JobId),
    /// In the log of this job, which is in another state now.
    Moved(Arc<Moved>),
    /// How far a step is: nothing remembers it.
    Progress(Arc<Event>),
    /// Anywhere.
    Anything,
}

/// A job that is in another state now. The first of all watchers who wants to know in which one reads it for all.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) job: JobId,
    found: OnceCell<Option<(JobRecord, Option<Summary>)>>,
}

impl Moved {
    pub(super) fn new(job: JobId) -> Self {
        let found = OnceCell::new();
        Self { job, found }
    }

    /// The job as it was after the move or later, and what it came to if it has ended. `None` if it is gone.
    pub(super) async fn found(
        &self,
        store: &dyn Store,
    ) -> Result<Option<&(JobRecord, Option<Summary>)>> {
        let find = async || {
            let Some(job) = store.job(self.job).await? else {
                return Ok(None);
            };
            let summary = if job.status.is_terminal() {
                Some(summary(store, &job).await?)
            } else {
                None
            };
            Ok(Some((job, summary)))
        };
        self.found.get_or_try_init(find).await.map(Option::as_ref)
    }
}

/// What live events come from.
#[derive(Debug)]
pub(crate) struct Live {
    pub(super) store: Arc<dyn Store>,
    hints: broadcast::Sender<Hint>,
    pub(super) stop: CancellationToken,
    watchers: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Live {
    /// Listens from now on, until it is stopped.
    pub(crate) fn start(store: Arc<dyn Store>, events: Arc<dyn EventBus>) -> Arc<Self> {
        let (hints, _) = broadcast::channel(HINTS);
        let stop = CancellationToken::new();
        let listening = listen(events, hints.clone());
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            tokio::select! {
                () = listening => {}
                () = stopped => {}
            }
        });
        Arc::new(Self {
            store,
            hints,
            stop,
            watchers: Arc::default(),
        })
    }

    /// Tells all watchers that this process ends, and takes no more.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    /// A place for a connection of this user, if there is one.
    pub(crate) fn enter(&self, user: UserId) -> Option<Place> {
        let mut watchers = lock(&self.watchers);
        let all: usize = watchers.values().sum();
        let own = watchers.get(&user).copied().unwrap_or_default();
        if self.stop.is_cancelled() || all >= WATCHERS || own >= WATCHERS_OF_USER {
            return None;
        }
        watchers.insert(user, own + 1);
        Some(Place {
            user,
            watchers: Arc::clone(&self.watchers),
        })
    }
}

/// The place of a connection that watches; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    user: UserId,
    watchers: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut watchers = lock(&self.watchers);
        match watchers.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                watchers.remove(&self.user);
            }
        }
    }
}

fn lock(watchers: &Mutex<HashMap<UserId, usize>>) -> MutexGuard<'_, HashMap<UserId, usize>> {
    // A count is changed as a whole: a panic of another thread leaves nothing half done.
    watchers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands on what the bus tells, whatever becomes of it.
async fn listen(events: Arc<dyn EventBus>, hints: broadcast::Sender<Hint>) {
    loop {
        if let Ok(mut subscription) = events.subscribe(None).await {
            // What was told before nobody heard.
            let _ = hints.send(Hint::Anything);
            while let Some(received) = subscription.next().await {
                let hint = match received {
                    Received::Missed(_) => Hint::Anything,
                    Received::Event(event) => match event.kind {
                        EventKind::Progress { .. } => Hint::Progress(Arc::new(event)),
                        EventKind::Job { .. } => Hint::Moved(Arc::new(Moved::new(event.job_id))),
                        EventKind::Step { .. } | EventKind::Expanded { .. } | EventKind::Log(_) => {
                            Hint::Lines(event.job_id)
                        }
                    },
                };
                // That nobody watches is no fault.
                let _ = hints.send(hint);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
