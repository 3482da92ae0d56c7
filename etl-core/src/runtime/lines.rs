//! What a job's log says of each commit: a line for each move, which the store writes together with the move. It decides nothing.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::model::{
    Change, Commit, JobSnapshot, JobStatus, LogEvent, LogLevel, LogLine, StepKey, StepPatch,
    StepStatus, Timestamp,
};

/// Tells of one job, under one lease.
#[derive(Debug)]
pub(crate) struct Teller {
    started_at: Timestamp,
    /// When the executions under way had their first attempt, of those that had it under this lease.
    begun: HashMap<StepKey, Timestamp>,
    steps: usize,
    succeeded: usize,
    failed: usize,
}

impl Teller {
    pub(crate) fn new(job: &JobSnapshot) -> Self {
        let mut teller = Self {
            started_at: job.started_at,
            begun: HashMap::new(),
            steps: job.document.steps.len(),
            succeeded: 0,
            failed: 0,
        };
        for step in &job.steps {
            teller.count(step.key, step.status);
        }
        teller
    }

    /// The lines of a commit. Steps are named by `name`.
    pub(crate) fn lines(
        &mut self,
        commit: &Commit,
        name: impl Fn(u32) -> Option<Arc<str>>,
    ) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for change in &commit.changes {
            let (key, attempt, said) = match change {
                Change::Job {
                    to,
                    error,
                    error_stack,
                    rows_processed,
                    bytes_transferred,
                } => {
                    let figures = (*rows_processed, *bytes_transferred);
                    let mut said = self.of_job(*to, error.as_deref(), commit.at, figures);
                    said.causes(error_stack.as_deref());
                    (None, 0, said)
                }
                Change::Step {
                    key,
                    attempt,
                    to,
                    patch,
                } => (
                    Some(*key),
                    *attempt,
                    self.of_step(*key, *attempt, *to, patch, commit.at),
                ),
                Change::Expand { step, items } => {
                    let key = StepKey::step(*step);
                    self.begun.insert(key, commit.at);
                    let message = format!("step fans out to {} items", items.len());
                    let mut said = Said::new(LogLevel::Info, message);
                    said.event(Some(LogEvent::StepExpanded), StepStatus::Running.as_str());
                    said.set("items", items.len());
                    (Some(key), 0, said)
                }
                Change::Checkpoint { .. } | Change::Bury(_) | Change::Hook(_) => continue,
            };
            lines.push(LogLine {
                job_id: commit.lease.job,
                seq: 0,
                step: key.and_then(|key| name(key.step)),
                item_index: key.and_then(|key| key.item),
                attempt,
                timestamp: commit.at,
                level: said.level,
                message: said.message,
                metadata: said.metadata,
            });
        }
        lines
    }

    fn of_job(
        &self,
        to: JobStatus,
        error: Option<&str>,
        at: Timestamp,
        (rows, bytes): (u64, u64),
    ) -> Said {
        let mut said = match (to, error) {
            (JobStatus::Pending, _) => {
                Said::new(LogLevel::Info, "the job was given back and waits again")
            }
            (JobStatus::Success, _) | (_, None) => Said::new(LogLevel::Info, format!("job {to}")),
            (_, Some(error)) => Said::new(LogLevel::Error, format!("job {to}: {error}")),
        };
        said.event(LogEvent::of_job(to), to.as_str());
        if to.is_terminal() {
            said.set("duration_ms", millis(self.started_at, at));
            said.set("rows_processed", rows);
            said.set("bytes_transferred", bytes);
            said.set("steps_total", self.steps);
            said.set("steps_success", self.succeeded);
            said.set("steps_failed", self.failed);
        }
        said
    }

    fn of_step(
        &mut self,
        key: StepKey,
        attempt: u32,
        to: StepStatus,
        patch: &StepPatch,
        at: Timestamp,
    ) -> Said {
        if to == StepStatus::Running && attempt == 1 {
            self.begun.insert(key, at);
        }
        self.count(key, to);
        let mut said = match (to, &patch.error) {
            (StepStatus::Retrying, Some(error)) => Said::new(
                LogLevel::Warn,
                format!("attempt {attempt} failed and will be repeated: {error}"),
            ),
            (StepStatus::Retrying, None) => {
                let message = format!("attempt {attempt} did not end and will be repeated");
                Said::new(LogLevel::Info, message)
            }
            (_, Some(error)) => Said::new(LogLevel::Error, error.clone()),
            (StepStatus::Running, None) => {
                Said::new(LogLevel::Info, format!("attempt {attempt} started"))
            }
            (_, None) => Said::new(LogLevel::Info, format!("step {to}")),
        };
        said.event(LogEvent::of_step(to), to.as_str());
        said.causes(patch.error_stack.as_deref());
        if to.is_terminal()
            && let Some(begun) = self.begun.remove(&key)
        {
            said.set("duration_ms", millis(begun, at));
        }
        if let Some(rows) = patch.rows_processed {
            said.set("rows_processed", rows);
        }
        if let Some(bytes) = patch.bytes_transferred {
            said.set("bytes_transferred", bytes);
        }
        if let Some(class) = patch.error_class {
            said.set("error_class", class.as_str());
        }
        if let Some(reason) = patch.skip_reason {
            said.set("skip_reason", reason.as_str());
        }
        if let Some(due) = patch.due_at.filter(|_| to == StepStatus::Retrying) {
            said.set("due_at", due.to_string());
        }
        said
    }

    /// Counts a step that is settled; the items of one are not steps of their own.
    fn count(&mut self, key: StepKey, status: StepStatus) {
        if key.item.is_some() {
            return;
        }
        match status {
            StepStatus::Success => self.succeeded += 1,
            StepStatus::Failed | StepStatus::Timeout => self.failed += 1,
            _ => {}
        }
    }
}

/// A line in the making.
struct Said {
    level: LogLevel,
    message: String,
    metadata: Map<String, Value>,
}

impl Said {
    fn new(level: LogLevel, message: impl Into<String>) -> Self {
        Self {
            level,
            message: message.into(),
            metadata: Map::new(),
        }
    }

    fn event(&mut self, event: Option<LogEvent>, status: &str) {
        if let Some(event) = event {
            self.set(LogEvent::KEY, event.as_str());
        }
        self.set("status", status);
    }

    fn causes(&mut self, causes: Option<&str>) {
        if let Some(causes) = causes {
            self.set("causes", causes);
        }
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.metadata.insert(key.into(), value.into());
    }
}

fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}
