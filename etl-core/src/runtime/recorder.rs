//! Log lines on their way to the journal: in order, in groups, bounded, and there before the step's end is.

use std::sync::Arc;

use backon::BackoffBuilder;
use tokio::sync::{mpsc, oneshot};

use super::commit::{LONGEST_WAIT, store_waits};
use crate::contract::EventBus;
use crate::contract::store::{Journal, StoreErrorKind};
use crate::model::{Event, EventKind, LogLine};

/// How many lines may wait for the store. Then whoever logs waits, too.
const WAITING: usize = 8192;
/// The most lines in one append.
const BATCH: usize = 1024;

#[derive(Debug)]
enum Request {
    Line(LogLine),
    Flush(oneshot::Sender<()>),
}

/// Hands lines to the recorder.
#[derive(Debug, Clone)]
pub(crate) struct LogSender(mpsc::Sender<Request>);

impl LogSender {
    /// Adds a line; waits while too many wait for the store.
    pub(crate) async fn record(&self, line: LogLine) {
        let _ = self.0.send(Request::Line(line)).await;
    }

    /// Waits until every line that was added before is in the journal and was told to watchers.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.0.send(Request::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// Writes lines until every sender is gone.
#[derive(Debug)]
pub(crate) struct Recorder {
    journal: Arc<dyn Journal>,
    events: Arc<dyn EventBus>,
    requests: mpsc::Receiver<Request>,
}

impl Recorder {
    pub(crate) fn new(journal: Arc<dyn Journal>, events: Arc<dyn EventBus>) -> (Self, LogSender) {
        let (sender, requests) = mpsc::channel(WAITING);
        (
            Self {
                journal,
                events,
                requests,
            },
            LogSender(sender),
        )
    }

    pub(crate) async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.requests.recv_many(&mut waiting, BATCH).await > 0 {
            let mut lines = Vec::new();
            let mut flushed = Vec::new();
            for request in waiting.drain(..) {
                match request {
                    Request::Line(line) => lines.push(line),
                    Request::Flush(done) => flushed.push(done),
                }
            }
            self.append(&lines).await;
            let events = lines
                .into_iter()
                .map(|line| Event {
                    job_id: line.job_id,
                    at: line.timestamp,
                    kind: EventKind::Log(line),
                })
                .collect();
            if let Err(error) = self.events.publish(events).await {
                tracing::debug!(%error, "log lines not published");
            }
            // Only now, so that watchers, too, have a step's lines before its end.
            for done in flushed {
                let _ = done.send(());
            }
        }
    }

    async fn append(&self, lines: &[LogLine]) {
        let Some(first) = lines.first() else {
            return;
        };
        let spread = first.job_id.0.as_u64_pair().1 ^ lines.len() as u64;
        let mut waits = store_waits(spread).build();
        while let Err(error) = self.journal.append(lines).await {
            if !matches!(
                error.kind,
                StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
            ) {
                tracing::error!(%error, lines = lines.len(), "log lines refused by the store");
                return;
            }
            tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
        }
    }
}
