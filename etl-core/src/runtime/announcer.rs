//! Tells watchers and the jobs' logs what has become true. It works beside the drivers: neither a store that is away nor a
//! slow bus may hold up a job that has to stop.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::recorder::LogSender;
use crate::contract::EventBus;
use crate::model::{
    Change, Commit, Event, EventKind, JobStatus, LogLevel, LogLine, StepKey, StepStatus,
};
use crate::plan::Plan;

/// The most groups of notices that are told at once.
const BATCH: usize = 512;

/// Hands notices to the announcer.
#[derive(Debug, Clone)]
pub(crate) struct NoticeSender(mpsc::UnboundedSender<Vec<Event>>);

impl NoticeSender {
    /// Tells these in order, after all that were handed over before. Never waits: notices come of commits, so there are
    /// no more than the store makes true.
    pub(crate) fn tell(&self, notices: Vec<Event>) {
        // Without an announcer the runtime has shut down: readers have the store.
        let _ = self.0.send(notices);
    }
}

/// Announces until every sender is gone.
#[derive(Debug)]
pub(crate) struct Announcer {
    logs: LogSender,
    events: Arc<dyn EventBus>,
    notices: mpsc::UnboundedReceiver<Vec<Event>>,
}

impl Announcer {
    pub(crate) fn new(logs: LogSender, events: Arc<dyn EventBus>) -> (Self, NoticeSender) {
        let (sender, notices) = mpsc::unbounded_channel();
        let announcer = Self {
            logs,
            events,
            notices,
        };
        (announcer, NoticeSender(sender))
    }

    pub(crate) async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.notices.recv_many(&mut waiting, BATCH).await > 0 {
            let notices: Vec<Event> = waiting.drain(..).flatten().collect();
            let mut logged = false;
            for line in notices.iter().filter_map(failure_line) {
                logged = true;
                self.logs.record(line).await;
            }
            // Who hears of a failure finds it in the log.
            if logged {
                self.logs.flush().await;
            }
            if let Err(error) = self.events.publish(notices).await {
                tracing::debug!(%error, "events not published");
            }
        }
    }
}

/// What watchers are told once the commit is true.
pub(crate) fn notices_of(plan: &Plan, commit: &Commit) -> Vec<Event> {
    let notice = |kind| Event {
        job_id: commit.lease.job,
        at: commit.at,
        kind,
    };
    let mut notices = Vec::new();
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

/// A failed or repeated attempt belongs into the job's log, whoever ran it.
fn failure_line(event: &Event) -> Option<LogLine> {
    let mut metadata = serde_json::Map::new();
    let (step, item_index, attempt, level, message) = match &event.kind {
        EventKind::Step {
            step,
            key,
            status,
            attempt,
            error_message: Some(message),
            error_stack,
            ..
        } => {
            metadata.extend(
                error_stack
                    .iter()
                    .map(|causes| ("causes".to_owned(), causes.as_str().into())),
            );
            let level = if *status == StepStatus::Retrying {
                LogLevel::Warn
            } else {
                LogLevel::Error
            };
            let message = match status {
                StepStatus::Retrying => {
                    format!("attempt {attempt} failed and will be repeated: {message}")
                }
                _ => message.clone(),
            };
            (Some(Arc::clone(step)), key.item, *attempt, level, message)
        }
        EventKind::Job {
            status,
            error_message: Some(message),
        } if *status != JobStatus::Success => (
            None,
            None,
            0,
            LogLevel::Error,
            format!("job {status}: {message}"),
        ),
        _ => return None,
    };
    Some(LogLine {
        job_id: event.job_id,
        seq: 0,
        step,
        item_index,
        attempt,
        timestamp: event.at,
        level,
        message,
        metadata,
    })
}
