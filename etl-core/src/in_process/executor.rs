//! Attempts as tasks of this process.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::artifact::ArtifactArea;
use crate::contract::{Cleared, ContextParts, Executor, ExecutorError, Run, StepContext};
use crate::model::{AttemptKey, Report, StepError, StepEvent, StepTask};
use crate::registry::Registry;

/// How many things an attempt may have said that nobody has heard yet. Then it waits.
const UNHEARD: usize = 256;

/// How long the future of an attempt that is given up is waited for.
const DROPPED_WITHIN: Duration = Duration::from_millis(100);

/// Runs attempts as tasks of this process. An attempt ends with its process, so there is never one to adopt.
#[derive(Debug, Clone)]
pub struct InProcess {
    registry: Arc<Registry>,
}

impl InProcess {
    /// For the connectors of `registry`.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[async_trait]
impl Executor for InProcess {
    async fn start(
        &self,
        task: StepTask,
        credential: Option<Value>,
        artifacts: ArtifactArea,
    ) -> Result<Box<dyn Run>, ExecutorError> {
        let (events, heard) = mpsc::channel(UNHEARD);
        let cancellation = CancellationToken::new();
        let connector = self.registry.connector(&task.connector_type).cloned();
        let config = Arc::clone(&task.config);
        let name = Arc::clone(&task.connector_type);
        let context = StepContext::new(ContextParts {
            task: Arc::new(task),
            artifacts,
            events,
            cancellation: cancellation.clone(),
        });
        let work = async move {
            let Some(connector) = connector else {
                return Err(StepError::permanent(format!(
                    "this worker has no connector {name:?}"
                )));
            };
            connector.run_dyn(config, credential, context).await
        };
        Ok(Box::new(Attempt {
            // A task of its own: a connector that blocks its thread must not keep whoever listens from giving it up.
            work: Some(tokio::spawn(work)),
            heard,
            cancellation,
            result: None,
            give_up_at: None,
        }))
    }

    async fn adopt(&self, _key: &AttemptKey) -> Result<Option<Box<dyn Run>>, ExecutorError> {
        Ok(None)
    }

    async fn clear(&self, _key: &AttemptKey) -> Result<Cleared, ExecutorError> {
        Ok(Cleared::Absent)
    }

    async fn settle(&self, _key: &AttemptKey) -> Result<(), ExecutorError> {
        Ok(())
    }
}

type Outcome = Result<Report, StepError>;

struct Attempt {
    /// `None` once it has ended or was given up.
    work: Option<JoinHandle<Outcome>>,
    heard: mpsc::Receiver<StepEvent>,
    cancellation: CancellationToken,
    /// The outcome, while things said before it are still to be heard.
    result: Option<Outcome>,
    give_up_at: Option<Instant>,
}

impl Attempt {
    fn end(&mut self, outcome: Outcome) {
        self.work = None;
        // What the connector left behind may go on talking; only what was said by now is still heard.
        self.heard.close();
        self.result = Some(outcome);
    }
}

#[async_trait]
impl Run for Attempt {
    async fn next(&mut self) -> Option<StepEvent> {
        loop {
            let Some(work) = &mut self.work else {
                // Nothing is heard after the result.
                self.result.as_ref()?;
                if let Ok(event) = self.heard.try_recv() {
                    return Some(event);
                }
                return self.result.take().map(StepEvent::Result);
            };
            let give_up_at = self.give_up_at;
            let gives_up = async {
                match give_up_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // First, so that an attempt that never stops talking is stopped all the same.
                () = gives_up => {
                    work.abort();
                    // It is gone at its next await; one that blocks its thread is not waited for.
                    let _ = tokio::time::timeout(DROPPED_WITHIN, work).await;
                    self.end(Err(StepError::transient("it did not stop in time and was abandoned")));
                }
                Some(event) = self.heard.recv() => return Some(event),
                ended = &mut *work => self.end(ended.unwrap_or_else(|failure| Err(ended_abnormally(failure)))),
            }
        }
    }

    async fn cancel(&mut self, grace: Duration) {
        self.cancellation.cancel();
        self.give_up_at
            .get_or_insert_with(|| Instant::now() + grace);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // What it spawned on other threads has only the token to learn by.
        self.cancellation.cancel();
        if let Some(work) = &self.work {
            work.abort();
        }
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("running", &self.work.is_some())
            .finish_non_exhaustive()
    }
}

fn ended_abnormally(failure: JoinError) -> StepError {
    match failure.try_into_panic() {
        Ok(panic) => StepError::permanent(format!("the connector panicked: {}", said(&*panic))),
        // Only the end of the whole runtime aborts a task that we have not.
        Err(_) => StepError::transient("the process ended"),
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
