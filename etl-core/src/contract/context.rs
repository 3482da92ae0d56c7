//! What a connector holds while an attempt runs: who it is, where it may write, how it speaks, and whether to stop.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::artifact::ArtifactArea;
use crate::model::{ArtifactName, LogLevel, StepEvent, StepTask};

/// How far an attempt is. Shown to people; nothing is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Per cent, 0 to 100, where it can tell.
    pub percent: Option<u8>,
    /// Rows so far.
    pub rows_processed: u64,
    /// Bytes so far.
    pub bytes_transferred: u64,
    /// What it thinks is left.
    pub estimated_remaining: Option<Duration>,
}

/// What an executor makes a context from.
#[derive(Debug)]
pub struct ContextParts {
    /// The attempt.
    pub task: Arc<StepTask>,
    /// Where its artifacts go.
    pub artifacts: ArtifactArea,
    /// Where what it says goes. Bounded: a connector that talks faster than it is heard waits.
    pub events: mpsc::Sender<StepEvent>,
    /// Cancelled when the attempt is to stop.
    pub cancellation: CancellationToken,
}

/// A running attempt's side of the step protocol. Cheap to clone; clones are the same attempt.
#[derive(Debug, Clone)]
pub struct StepContext {
    parts: Arc<ContextParts>,
}

impl StepContext {
    /// For executors and for tests of connectors.
    pub fn new(parts: ContextParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// The attempt's task.
    pub fn task(&self) -> &StepTask {
        &self.parts.task
    }

    /// The same text for every attempt of this step execution.
    pub fn idempotency_key(&self) -> String {
        self.parts.task.idempotency_key()
    }

    /// Where this attempt's artifacts go. Nothing written there is visible to others before the step succeeds.
    pub fn artifacts(&self) -> &ArtifactArea {
        &self.parts.artifacts
    }

    /// What the last checkpoint of an earlier attempt held.
    pub fn restored(&self) -> Option<&Value> {
        self.parts.task.checkpoint.as_ref()
    }

    /// The token that is cancelled when the attempt is to stop: to await, or to ask.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.parts.cancellation
    }

    /// Says how far the attempt is. Never waits: when the listener is behind, this notice is left out.
    pub fn progress(&self, progress: Progress) {
        let _ = self.parts.events.try_send(StepEvent::Progress {
            progress: progress.percent.map(|percent| percent.min(100)),
            rows_processed: progress.rows_processed,
            bytes_transferred: progress.bytes_transferred,
            estimated_remaining: progress.estimated_remaining,
        });
    }

    /// Adds a line to the job's log. Waits while the listener is behind, so that no line is lost and memory is bounded.
    pub async fn log(
        &self,
        level: LogLevel,
        message: impl Into<String>,
        metadata: Map<String, Value>,
    ) {
        self.send(StepEvent::Log {
            level,
            message: message.into(),
            metadata,
        })
        .await;
    }

    /// [`log`](Self::log) at `INFO`, without details.
    pub async fn info(&self, message: impl Into<String>) {
        self.log(LogLevel::Info, message, Map::new()).await;
    }

    /// [`log`](Self::log) at `WARN`, without details.
    pub async fn warn(&self, message: impl Into<String>) {
        self.log(LogLevel::Warn, message, Map::new()).await;
    }

    /// Remembers a point from which a later attempt may go on. It replaces the one before; at most 256 KiB of JSON.
    pub async fn checkpoint(&self, state: Value) {
        self.send(StepEvent::Checkpoint(state)).await;
    }

    /// Reports a figure of the connector's own.
    pub async fn metric(&self, name: impl Into<String>, value: f64) {
        self.send(StepEvent::Metric {
            name: name.into(),
            value,
        })
        .await;
    }

    /// Declares an artifact that is complete under [`artifacts`](Self::artifacts). Others see it when the step succeeds.
    pub async fn publish(&self, name: ArtifactName) {
        let uri = self.parts.artifacts.uri(&name);
        self.send(StepEvent::Artifact { name, uri }).await;
    }

    async fn send(&self, event: StepEvent) {
        // An attempt that nobody listens to any more has lost its lease: there is nobody to tell.
        let _ = self.parts.events.send(event).await;
    }
}
