//! Tells watchers what has become true. It works beside the drivers: neither a store that is away nor a
//! slow bus may hold up a job that has to stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::contract::EventBus;
use crate::model::{Change, Commit, Event, EventKind, LogLevel, StepKey};
use crate::plan::Plan;

/// How long notices of steps wait for others to be told with. Waking watchers costs more than a step that does little.
const GATHER: Duration = Duration::from_millis(1);

/// Hands notices to the announcer, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct NoticeSender(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    waiting: Mutex<Waiting>,
    /// Rung when something waits.
    some: Notify,
    /// Rung when it is not to wait for more.
    urgent: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    notices: Vec<Event>,
    closed: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NoticeSender {
    /// Tells these in order, after all that were handed over before: at once if they tell of a job, and after about
    /// a millisecond if of steps. Never waits: notices come of commits, so there are no more than the store makes true.
    pub(crate) fn tell(&self, notices: Vec<Event>) {
        let is_urgent = notices
            .iter()
            .any(|notice| matches!(notice.kind, EventKind::Job { .. }));
        let mut waiting = self.0.lock();
        // Without an announcer nobody would ever take them.
        if waiting.closed {
            return;
        }
        let was_empty = waiting.notices.is_empty();
        waiting.notices.extend(notices);
        if was_empty && !waiting.notices.is_empty() {
            self.0.some.notify_one();
        }
        if is_urgent {
            self.0.urgent.notify_one();
        }
    }
}

impl Drop for NoticeSender {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.some.notify_one();
        self.0.urgent.notify_one();
    }
}

/// Announces until the sender is gone.
#[derive(Debug)]
pub(crate) struct Announcer {
    events: Arc<dyn EventBus>,
    board: Arc<Board>,
}

impl Announcer {
    pub(crate) fn new(events: Arc<dyn EventBus>) -> (Self, NoticeSender) {
        let board = Arc::<Board>::default();
        let announcer = Self {
            events,
            board: Arc::clone(&board),
        };
        (announcer, NoticeSender(board))
    }

    pub(crate) async fn run(self) {
        loop {
            self.board.some.notified().await;
            let _ = tokio::time::timeout(GATHER, self.board.urgent.notified()).await;
            let (notices, closed) = {
                let mut waiting = self.board.lock();
                (std::mem::take(&mut waiting.notices), waiting.closed)
            };
            self.announce(notices).await;
            if closed {
                return;
            }
        }
    }

    async fn announce(&self, notices: Vec<Event>) {
        if let Err(error) = self.events.publish(notices).await {
            tracing::debug!(%error, "events not published");
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        *self.board.lock() = Waiting {
            notices: Vec::new(),
            closed: true,
        };
    }
}

/// What watchers are told once the commit is true.
pub(crate) fn notices_of(plan: &Plan, commit: &Commit) -> Vec<Event> {
    let notice = |kind| Event {
        job_id: commit.lease.job,
        at: commit.at,
        kind,
    };
    // Failures are heard as lines, too, before the moves that they are the reason of.
    let failures = commit.lines.iter();
    let failures = failures.filter(|line| line.level >= LogLevel::Warn);
    let mut notices: Vec<_> = failures
        .map(|line| notice(EventKind::Log(line.clone())))
        .collect();
    for change in &commit.changes {
        match change {
            Change::Job { to, error, .. } => {
                notices.push(notice(EventKind::Job {
                    status: *to,
                    error_message: error.clone(),
                }));
            }
            Change::Step {
                key,
                attempt,
                to,
                patch,
            } => notices.push(notice(EventKind::Step {
                step: Arc::clone(&plan.step(key.step).name),
                key: *key,
                status: *to,
                attempt: *attempt,
                rows_processed: patch.rows_processed.unwrap_or(0),
                error_message: patch.error.clone(),
                error_stack: patch.error_stack.clone(),
            })),
            Change::Expand { step, items } => notices.push(notice(EventKind::Expanded {
                step: Arc::clone(&plan.step(*step).name),
                key: StepKey::step(*step),
                items: items.len() as u32,
            })),
            Change::Checkpoint { .. } | Change::Bury(_) | Change::Hook(_) => {}
        }
    }
    notices
}
