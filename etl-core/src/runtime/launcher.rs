//! The one place that calls executors: it opens the credential, starts an attempt, and passes on what it says. Whatever
//! happens to the attempt, exactly one result comes of it, unless its driver is gone before.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempts::Attempts;
use super::recorder::LogSender;
use super::redact::Redactor;
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

/// The longest message of a log line, and as much again of details as JSON. 16 KiB, as of Docker's log lines.
const LINE_BYTES: usize = 16 * 1024;

/// Starts attempts and listens to them.
#[derive(Debug)]
pub(crate) struct Launcher {
    backends: Backends,
    in_process: InProcess,
    logs: LogSender,
    grace: Duration,
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

    /// Starts an attempt, among `attempts`. Its events that decide something come to `inputs`; log lines and progress
    /// go their own ways. Cancelling what it answers asks the attempt to stop.
    pub(crate) fn launch(
        self: &Arc<Self>,
        task: StepTask,
        namespace: Arc<str>,
        inputs: mpsc::UnboundedSender<Input>,
        attempts: &Attempts,
    ) -> CancellationToken {
        let stop = CancellationToken::new();
        let (launcher, stopped) = (Arc::clone(self), stop.clone());
        attempts.push(async move {
            let voice = Voice::new(task.key, Arc::clone(&task.step_name), inputs);
            let run = launcher.start(task, &namespace);
            launcher.attend(run, &stopped, voice).await;
        });
        stop
    }

    /// Looks for an attempt of an earlier owner. In this process there is none: it ended with its owner.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        key: AttemptKey,
        step: Arc<str>,
        executor: ExecutorKind,
        inputs: mpsc::UnboundedSender<Input>,
        attempts: &Attempts,
    ) -> Option<CancellationToken> {
        if executor == ExecutorKind::InProcess {
            let _ = inputs.send(Input::Adopted { key, found: false });
            return None;
        }
        let stop = CancellationToken::new();
        let (launcher, stopped) = (Arc::clone(self), stop.clone());
        attempts.push(async move {
            let run = match launcher.executor(executor) {
                // The job would wait for ever: a bug of an executor is the loss of the attempt.
                Ok(executor) => match AssertUnwindSafe(executor.adopt(&key)).catch_unwind().await {
                    Ok(Ok(run)) => run,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, job_id = %key.job, "attempt not looked for, it counts as lost");
                        None
                    }
                    Err(_) => None,
                },
                Err(_) => None,
            };
            let _ = inputs.send(Input::Adopted {
                key,
                found: run.is_some(),
            });
            if let Some(run) = run {
                let voice = Voice::new(key, step, inputs);
                launcher
                    .attend(
                        std::future::ready(Ok((run, Redactor::default()))),
                        &stopped,
                        voice,
                    )
                    .await;
            }
        });
        Some(stop)
    }

    /// Listens to an attempt to its end, and tells its one result when all that it logged is in the journal.
    async fn attend(
        &self,
        start: impl Future<Output = Result<(Box<dyn Run>, Redactor), StepError>>,
        stop: &CancellationToken,
        mut voice: Voice,
    ) {
        let attempt = async {
            let (run, redactor) = start.await?;
            voice.redactor = redactor;
            self.listen(run, stop, &mut voice).await
        };
        // Without a result the job would wait for ever: a bug of an executor is a failure of the attempt.
        let result = AssertUnwindSafe(attempt)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(StepError::permanent("the executor panicked")));
        let result = match result {
            Ok(report) => Ok(voice.redactor.report(report)),
            Err(error) => Err(voice.redactor.error(error)),
        };
        if voice.has_logged {
            self.logs.flush().await;
        }
        voice.tell(Input::Step {
            key: voice.key,
            event: StepEvent::Result(result),
        });
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

    async fn start(
        &self,
        task: StepTask,
        namespace: &str,
    ) -> Result<(Box<dyn Run>, Redactor), StepError> {
        let executor = self.executor(task.executor)?;
        let credential = match &task.credential {
            Some(name) => Some(
                self.backends
                    .credentials
                    .open(namespace, name, &task.connector_type)
                    .await
                    .map_err(unopened)?,
            ),
            None => None,
        };
        let redactor = credential.as_ref().map(Redactor::of).unwrap_or_default();
        let area = self.backends.storage.area(&task.key);
        let started = executor.start(task, credential, area).await;
        let started = started.map_err(|error| match error.kind {
            ExecutorErrorKind::Unavailable => {
                StepError::transient("the executor can't be reached").because(error)
            }
            ExecutorErrorKind::Refused => {
                StepError::permanent("the executor refused the step").because(error)
            }
        });
        match started {
            Ok(run) => Ok((run, redactor)),
            Err(error) => Err(redactor.error(error)),
        }
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

/// A line as it is kept: whoever logs a whole file in one line must not take the memory of all who wait for the store.
fn bounded(mut message: String, metadata: Map<String, Value>) -> (String, Map<String, Value>) {
    let bytes = message.len();
    if bytes > LINE_BYTES {
        message.truncate(message.floor_char_boundary(LINE_BYTES));
        message.push_str(&format!(" … ({bytes} bytes, cut)"));
    }
    let details = serde_json::to_string(&metadata).map_or(0, |text| text.len());
    if details > LINE_BYTES {
        return (
            message,
            Map::from_iter([("cut_bytes".into(), details.into())]),
        );
    }
    (message, metadata)
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
    /// Keeps the attempt's credential out of what is passed on.
    redactor: Redactor,
}

impl Voice {
    fn new(key: AttemptKey, step: Arc<str>, inputs: mpsc::UnboundedSender<Input>) -> Self {
        Self {
            key,
            step,
            inputs,
            has_logged: false,
            last_progress: None,
            redactor: Redactor::default(),
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
            StepEvent::Checkpoint(state) => self.tell(Input::Step {
                key: self.key,
                event: StepEvent::Checkpoint(self.redactor.value(state)),
            }),
            StepEvent::Metric { name, value } => self.tell(Input::Step {
                key: self.key,
                event: StepEvent::Metric {
                    name: self.redactor.text(name),
                    value,
                },
            }),
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
        let message = self.redactor.text(message);
        let (message, metadata) = bounded(message, self.redactor.map(metadata));
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
        launcher.logs.record(line.of_attempt()).await;
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
