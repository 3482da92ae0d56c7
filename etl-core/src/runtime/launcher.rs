//! The one place that calls executors: it opens the credential, starts an attempt, and passes on what it says. Whatever
//! happens, exactly one result comes of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::recorder::LogSender;
use super::settings::Backends;
use crate::contract::{CredentialError, Executor, ExecutorErrorKind, Run};
use crate::engine::Input;
use crate::in_process::InProcess;
use crate::model::{
    AttemptKey, Event, EventKind, ExecutorKind, LogLevel, LogLine, Report, StepError, StepEvent,
    StepTask,
};

/// The shortest time between two progress notices of one attempt.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Starts attempts and listens to them.
#[derive(Debug)]
pub(crate) struct Launcher {
    backends: Backends,
    in_process: InProcess,
    logs: LogSender,
    grace: Duration,
}

/// An attempt under way, for the driver.
#[derive(Debug)]
pub(crate) struct Launched {
    stop: CancellationToken,
}

impl Launched {
    /// Asks it to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

impl Launcher {
    pub(crate) fn new(backends: Backends, logs: LogSender, grace: Duration) -> Self {
        let in_process = InProcess::new(Arc::clone(&backends.registry));
        Self {
            backends,
            in_process,
            logs,
            grace,
        }
    }

    /// Starts an attempt. Its events that decide something come to `inputs`; log lines and progress go their own ways.
    pub(crate) fn launch(
        self: &Arc<Self>,
        task: StepTask,
        namespace: Arc<str>,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Launched {
        let stop = CancellationToken::new();
        let launcher = Arc::clone(self);
        let stopped = stop.clone();
        // Joined by its result: the driver does not end before every attempt has given one, or has been stopped.
        tokio::spawn(async move {
            let key = task.key;
            let mut voice = Voice::new(key, Arc::clone(&task.step_name), inputs);
            let result = match launcher.start(task, &namespace).await {
                Ok(run) => launcher.listen(run, &stopped, &mut voice).await,
                Err(error) => Err(error),
            };
            if voice.has_logged {
                launcher.logs.flush().await;
            }
            voice.tell(Input::Step {
                key,
                event: StepEvent::Result(result),
            });
        });
        Launched { stop }
    }

    /// Looks for an attempt of an earlier owner. In this process there is none: it ended with its owner.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        key: AttemptKey,
        step: Arc<str>,
        executor: ExecutorKind,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Option<Launched> {
        if executor == ExecutorKind::InProcess {
            let _ = inputs.send(Input::Adopted { key, found: false });
            return None;
        }
        let stop = CancellationToken::new();
        let (launcher, stopped) = (Arc::clone(self), stop.clone());
        tokio::spawn(async move {
            let run = match launcher.executor(executor) {
                Ok(executor) => executor.adopt(&key).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, job_id = %key.job, "attempt not looked for, it counts as lost");
                    None
                }),
                Err(_) => None,
            };
            let _ = inputs.send(Input::Adopted {
                key,
                found: run.is_some(),
            });
            if let Some(run) = run {
                let mut voice = Voice::new(key, step, inputs);
                let result = launcher.listen(run, &stopped, &mut voice).await;
                voice.tell(Input::Step {
                    key,
                    event: StepEvent::Result(result),
                });
            }
        });
        Some(Launched { stop })
    }

    fn executor(&self, kind: ExecutorKind) -> Result<&dyn Executor, StepError> {
        match (kind, self.backends.registry.executor(kind)) {
            (_, Some(executor)) => Ok(&**executor),
            (ExecutorKind::InProcess, None) => Ok(&self.in_process),
            (_, None) => Err(StepError::permanent(format!(
                "this worker has no executor {kind}"
            ))),
        }
    }

    async fn start(&self, task: StepTask, namespace: &str) -> Result<Box<dyn Run>, StepError> {
        let executor = self.executor(task.executor)?;
        let credential = match &task.credential {
            Some(name) => Some(
                self.backends
                    .credentials
                    .open(namespace, name)
                    .await
                    .map_err(unopened)?,
            ),
            None => None,
        };
        let area = self.backends.storage.area(&task.key);
        executor
            .start(task, credential, area)
            .await
            .map_err(|error| match error.kind {
                ExecutorErrorKind::Unavailable => {
                    StepError::transient("the executor can't be reached").because(error)
                }
                ExecutorErrorKind::Refused => {
                    StepError::permanent("the executor refused the step").because(error)
                }
            })
    }

    async fn listen(
        &self,
        mut run: Box<dyn Run>,
        stop: &CancellationToken,
        voice: &mut Voice,
    ) -> Result<Report, StepError> {
        let mut told_to_stop = false;
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled(), if !told_to_stop => {
                    told_to_stop = true;
                    run.cancel(self.grace).await;
                    continue;
                }
                event = run.next() => event,
            };
            match event {
                Some(StepEvent::Result(result)) => return result,
                Some(event) => voice.pass_on(event, self).await,
                None => return Err(StepError::transient("the attempt ended without a result")),
            }
        }
    }
}

fn unopened(error: CredentialError) -> StepError {
    match error {
        CredentialError::Unavailable(_) => {
            StepError::transient("the credential can't be opened now").because(error)
        }
        other => StepError::permanent(other.to_string()),
    }
}

/// One attempt's way to its listeners.
struct Voice {
    key: AttemptKey,
    step: Arc<str>,
    inputs: mpsc::UnboundedSender<Input>,
    has_logged: bool,
    last_progress: Option<Instant>,
}

impl Voice {
    fn new(key: AttemptKey, step: Arc<str>, inputs: mpsc::UnboundedSender<Input>) -> Self {
        Self {
            key,
            step,
            inputs,
            has_logged: false,
            last_progress: None,
        }
    }

    fn tell(&self, input: Input) {
        // A driver that is gone has lost its lease: nobody waits for this.
        let _ = self.inputs.send(input);
    }

    async fn pass_on(&mut self, event: StepEvent, launcher: &Launcher) {
        match event {
            StepEvent::Log {
                level,
                message,
                metadata,
            } => self.log(level, message, metadata, launcher).await,
            StepEvent::Progress {
                progress,
                rows_processed,
                bytes_transferred,
                ..
            } => {
                self.progress(progress, rows_processed, bytes_transferred, launcher)
                    .await;
            }
            decides => self.tell(Input::Step {
                key: self.key,
                event: decides,
            }),
        }
    }

    async fn log(
        &mut self,
        level: LogLevel,
        message: String,
        metadata: Map<String, Value>,
        launcher: &Launcher,
    ) {
        self.has_logged = true;
        let line = LogLine {
            job_id: self.key.job,
            seq: 0,
            step: Some(Arc::clone(&self.step)),
            item_index: self.key.step.item,
            attempt: self.key.attempt,
            timestamp: launcher.backends.clock.now(),
            level,
            message,
            metadata,
        };
        launcher.logs.record(line).await;
    }

    async fn progress(
        &mut self,
        progress: Option<u8>,
        rows_processed: u64,
        bytes_transferred: u64,
        launcher: &Launcher,
    ) {
        let now = Instant::now();
        if self
            .last_progress
            .is_some_and(|last| now.duration_since(last) < PROGRESS_EVERY)
        {
            return;
        }
        self.last_progress = Some(now);
        let kind = EventKind::Progress {
            step: Arc::clone(&self.step),
            key: self.key.step,
            progress,
            rows_processed,
            bytes_transferred,
        };
        let event = Event {
            job_id: self.key.job,
            at: launcher.backends.clock.now(),
            kind,
        };
        if let Err(error) = launcher.backends.events.publish(vec![event]).await {
            tracing::debug!(%error, "progress not published");
        }
    }
}
