//! The executor contract: where an attempt runs.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::artifact::ArtifactArea;
use crate::model::{AttemptKey, BoxError, StepEvent, StepTask};
use serde_json::Value;

/// Runs attempts somewhere: in this process, in a child, in a container.
///
/// # Contract
/// Between the launcher and a place to run. Everything is keyed by (job, step, attempt) and idempotent. Conformance:
/// `etl_core::executor_conformance!`.
///
/// - `start` of an attempt that runs already MUST attach to it and start nothing. Where an attempt can't outlive its `Run` (as
///   in the worker's own process), dropping the `Run` MUST end it, and there is never anything to attach to or to adopt;
///   the launcher holds one `Run` for an attempt.
/// - `adopt` MUST NOT start anything.
/// - `clear` MUST answer `Absent` only if it has seen the attempt gone.
/// - A `Run` MUST give exactly one `Result`, as its last event, whatever becomes of the attempt. What is said after it by
///   something that the attempt left behind is not heard.
/// - Log lines, checkpoints, metrics and artifacts MUST come whole and in order; an attempt that talks faster than it is
///   heard MUST wait. Progress may be left out.
/// - A panic or a crash of an attempt is its `Result`, not retryable for a panic, and MUST NOT disturb another attempt.
#[async_trait]
pub trait Executor: Debug + Send + Sync + 'static {
    /// Starts an attempt, or attaches to it if it runs.
    async fn start(
        &self,
        task: StepTask,
        credential: Option<Value>,
        artifacts: ArtifactArea,
    ) -> Result<Box<dyn Run>, ExecutorError>;
    /// Attaches to an attempt that outlived its worker; `None` if there is none.
    async fn adopt(&self, key: &AttemptKey) -> Result<Option<Box<dyn Run>>, ExecutorError>;
    /// Ends whatever is left of an attempt.
    async fn clear(&self, key: &AttemptKey) -> Result<Cleared, ExecutorError>;
    /// The attempt's outcome is committed: what was kept of it may go.
    async fn settle(&self, key: &AttemptKey) -> Result<(), ExecutorError>;
}

/// A running attempt.
#[async_trait]
pub trait Run: Send {
    /// What it says next; `None` after its `Result`. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<StepEvent>;
    /// Asks it to stop; after `grace` it is stopped. The `Result` still comes by [`next`](Self::next).
    async fn cancel(&mut self, grace: Duration);
}

/// What `clear` has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleared {
    /// The attempt is gone.
    Absent,
    /// It could not be shown that it is gone.
    Unproven,
}

/// Why an executor failed; about the place, not about the attempt.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ExecutorError {
    /// What the caller can do.
    pub kind: ExecutorErrorKind,
    /// What went wrong.
    pub message: String,
    /// What caused it.
    #[source]
    pub source: Option<BoxError>,
}

/// What the caller can do about an [`ExecutorError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecutorErrorKind {
    /// The place can't be reached: try again.
    Unavailable,
    /// The place refuses this task: fail the step.
    Refused,
}
