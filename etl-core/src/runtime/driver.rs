//! Moves inputs to a job's machine and its effects to where they are carried out. It has no policy of its own.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::committer::CommitSender;
use super::launcher::{Launched, Launcher};
use super::recorder::LogSender;
use super::settings::Backends;
use crate::engine::{Effect, Input, JobMachine};
use crate::model::{
    AttemptKey, Change, Commit, Event, EventKind, JobStatus, LogLevel, LogLine, StepStatus,
    Timestamp, Verdict,
};

/// What the drivers of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) backends: Backends,
    pub(crate) commits: CommitSender,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) logs: LogSender,
    /// Steps that may run at once, over all jobs of the worker.
    pub(crate) slots: Arc<Semaphore>,
}

/// Drives one job under one lease.
#[derive(Debug)]
pub(crate) struct Driver {
    shared: Arc<Shared>,
    machine: JobMachine,
    namespace: Arc<str>,
    inputs: mpsc::UnboundedReceiver<Input>,
    /// For those who answer.
    answers: mpsc::UnboundedSender<Input>,
    permits: Vec<OwnedSemaphorePermit>,
    launched: HashMap<AttemptKey, Launched>,
    wake_at: Option<Timestamp>,
    /// The notices of the commit under way, and the lines for the job's log.
    notices: Vec<Event>,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        machine: JobMachine,
        namespace: Arc<str>,
        answers: mpsc::UnboundedSender<Input>,
        inputs: mpsc::UnboundedReceiver<Input>,
    ) -> Self {
        Self {
            shared,
            machine,
            namespace,
            inputs,
            answers,
            permits: Vec::new(),
            launched: HashMap::new(),
            wake_at: None,
            notices: Vec::new(),
        }
    }

    /// Drives the job until it ends or is lost. Answers where it is then.
    pub(crate) async fn run(mut self) -> JobStatus {
        let mut input = Input::Opened;
        loop {
            self.before(&input).await;
            let now = self.shared.backends.clock.now();
            for effect in self.machine.handle(input, now) {
                if let Effect::Close(status) = effect {
                    return status;
                }
                self.carry_out(effect);
            }
            input = self.next_input().await;
        }
    }

    async fn next_input(&mut self) -> Input {
        let wanted = self.machine.wanted();
        let slots = Arc::clone(&self.shared.slots);
        if wanted > 0
            && let Ok(permit) = Arc::clone(&slots).try_acquire_owned()
        {
            self.permits.push(permit);
            let more = (1..wanted).map_while(|_| Arc::clone(&slots).try_acquire_owned().ok());
            let before = self.permits.len() - 1;
            self.permits.extend(more);
            return Input::Slots(self.permits.len() - before);
        }
        let clock = Arc::clone(&self.shared.backends.clock);
        let wake_at = self.wake_at;
        let due = async {
            match wake_at {
                Some(at) => tokio::time::sleep(at.since(clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            input = self.inputs.recv() => input.unwrap_or(Input::LeaseLost),
            permit = slots.acquire_owned(), if wanted > 0 => match permit {
                Ok(permit) => {
                    self.permits.push(permit);
                    Input::Slots(1)
                }
                Err(_) => Input::LeaseLost,
            },
            () = due => {
                self.wake_at = None;
                Input::Due
            }
        }
    }

    async fn before(&mut self, input: &Input) {
        match input {
            Input::Committed { verdict, .. } => {
                let notices = std::mem::take(&mut self.notices);
                if matches!(verdict, Verdict::Applied | Verdict::AlreadyApplied) {
                    self.announce(notices).await;
                }
            }
            Input::Step {
                key,
                event: crate::model::StepEvent::Result(_),
            } => {
                self.launched.remove(key);
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Commit(commit) => {
                self.notices = self.notices_of(&commit);
                self.shared.commits.send(commit, self.answers.clone());
            }
            Effect::Start(task) => {
                let key = task.key;
                let launched = self.shared.launcher.launch(
                    *task,
                    Arc::clone(&self.namespace),
                    self.answers.clone(),
                );
                self.launched.insert(key, launched);
            }
            Effect::Adopt(key) => {
                let step = self.machine.plan().step(key.step.step);
                let (name, executor) = (Arc::clone(&step.name), step.executor);
                if let Some(launched) =
                    self.shared
                        .launcher
                        .adopt(key, name, executor, self.answers.clone())
                {
                    self.launched.insert(key, launched);
                }
            }
            Effect::Stop(key) => {
                if let Some(launched) = self.launched.get(&key) {
                    launched.stop();
                }
            }
            Effect::Wake(at) => self.wake_at = Some(at),
            Effect::Release(slots) => {
                let keep = self.permits.len().saturating_sub(slots);
                self.permits.truncate(keep);
            }
            Effect::Close(_) => {}
        }
    }

    /// What watchers are told once the commit is true.
    fn notices_of(&self, commit: &Commit) -> Vec<Event> {
        let plan = self.machine.plan();
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
                    key: crate::model::StepKey::step(*step),
                    items: items.len() as u32,
                })),
                Change::Checkpoint { .. } | Change::Bury(_) | Change::Hook(_) => {}
            }
        }
        notices
    }

    async fn announce(&self, notices: Vec<Event>) {
        let mut logged = false;
        for line in notices.iter().filter_map(failure_line) {
            logged = true;
            self.shared.logs.record(line).await;
        }
        if logged {
            self.shared.logs.flush().await;
        }
        if let Err(error) = self.shared.backends.events.publish(notices).await {
            tracing::debug!(%error, "events not published");
        }
    }
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
