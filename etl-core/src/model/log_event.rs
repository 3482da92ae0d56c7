//! The lines of a job's log that tell what became of it. Together they are the job's event stream.

use std::fmt;

use serde_json::{Map, Value, json};

use super::event::{LogLevel, LogLine};
use super::ids::JobId;
use super::status::{JobStatus, StepStatus};
use super::time::Timestamp;

/// What a line tells, by the word under [`LogEvent::KEY`] in its metadata. Beside it there, where it applies: `status`,
/// `duration_ms`, `rows_processed`, `bytes_transferred`, `error_class`, `causes`, `skip_reason`, `due_at`, `items`, and at the
/// end of a job `steps_total`, `steps_success` and `steps_failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogEvent {
    /// A worker has the job.
    JobStarted,
    /// The job waits again: its worker gave it back or lost it.
    JobReturned,
    /// The job ended in success.
    JobCompleted,
    /// The job failed.
    JobFailed,
    /// The job was cancelled. Steps that a store ends with it have no lines of their own.
    JobCancelled,
    /// The job ran too long.
    JobTimeout,
    /// An attempt starts.
    StepStarted,
    /// The step became as many executions as it has items.
    StepExpanded,
    /// The step succeeded.
    StepCompleted,
    /// The step failed for good.
    StepFailed,
    /// An attempt failed, and there will be another.
    StepRetrying,
    /// The step does not run.
    StepSkipped,
    /// The step was stopped with its job.
    StepCancelled,
    /// The step ran too long.
    StepTimeout,
}

impl LogEvent {
    /// Where a line's metadata has the word. What connectors say under it is kept under [`SAID`](Self::SAID).
    pub const KEY: &'static str = "event";
    /// Where a line of a connector has what it said under [`KEY`](Self::KEY), which only the engine's own lines have.
    pub const SAID: &'static str = "said_event";

    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::JobStarted,
        Self::JobReturned,
        Self::JobCompleted,
        Self::JobFailed,
        Self::JobCancelled,
        Self::JobTimeout,
        Self::StepStarted,
        Self::StepExpanded,
        Self::StepCompleted,
        Self::StepFailed,
        Self::StepRetrying,
        Self::StepSkipped,
        Self::StepCancelled,
        Self::StepTimeout,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobStarted => "job_started",
            Self::JobReturned => "job_returned",
            Self::JobCompleted => "job_completed",
            Self::JobFailed => "job_failed",
            Self::JobCancelled => "job_cancelled",
            Self::JobTimeout => "job_timeout",
            Self::StepStarted => "step_started",
            Self::StepExpanded => "step_expanded",
            Self::StepCompleted => "step_completed",
            Self::StepFailed => "step_failed",
            Self::StepRetrying => "step_retrying",
            Self::StepSkipped => "step_skipped",
            Self::StepCancelled => "step_cancelled",
            Self::StepTimeout => "step_timeout",
        }
    }

    /// What tells that a job moved to `status`. Nothing tells of `queued`: to who watches, a job waits before and after.
    pub const fn of_job(status: JobStatus) -> Option<Self> {
        Some(match status {
            JobStatus::Queued => return None,
            JobStatus::Pending => Self::JobReturned,
            JobStatus::Running => Self::JobStarted,
            JobStatus::Success => Self::JobCompleted,
            JobStatus::Failed => Self::JobFailed,
            JobStatus::Cancelled => Self::JobCancelled,
            JobStatus::Timeout => Self::JobTimeout,
        })
    }

    /// What tells that a step execution moved to `status`.
    pub const fn of_step(status: StepStatus) -> Option<Self> {
        Some(match status {
            StepStatus::Pending => return None,
            StepStatus::Running => Self::StepStarted,
            StepStatus::Success => Self::StepCompleted,
            StepStatus::Failed => Self::StepFailed,
            StepStatus::Retrying => Self::StepRetrying,
            StepStatus::Skipped => Self::StepSkipped,
            StepStatus::Cancelled => Self::StepCancelled,
            StepStatus::Timeout => Self::StepTimeout,
        })
    }

    /// Whether it tells of the job as a whole.
    pub const fn is_of_job(self) -> bool {
        matches!(
            self,
            Self::JobStarted
                | Self::JobReturned
                | Self::JobCompleted
                | Self::JobFailed
                | Self::JobCancelled
                | Self::JobTimeout
        )
    }
}

impl fmt::Display for LogEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl LogLine {
    /// What it tells, if it is of the event stream.
    pub fn event(&self) -> Option<LogEvent> {
        let word = self.metadata.get(LogEvent::KEY)?.as_str()?;
        LogEvent::ALL
            .iter()
            .copied()
            .find(|event| event.as_str() == word)
    }

    /// The line of a move of a job that a store makes by itself: a claim, the end of a job that nobody has, a job taken from
    /// its worker. Every store has to write this one and no other, in the transaction of the move.
    pub fn of_own_move(
        job: JobId,
        to: JobStatus,
        started_at: Option<Timestamp>,
        at: Timestamp,
    ) -> Self {
        let mut metadata = Map::new();
        if let Some(event) = LogEvent::of_job(to) {
            metadata.insert(LogEvent::KEY.into(), event.as_str().into());
        }
        metadata.insert("status".into(), to.as_str().into());
        if to.is_terminal()
            && let Some(started) = started_at
        {
            let duration = u64::try_from(at.since(started).as_millis()).unwrap_or(u64::MAX);
            metadata.insert("duration_ms".into(), json!(duration));
        }
        let (level, message) = match to {
            JobStatus::Running => (LogLevel::Info, "job started".to_owned()),
            JobStatus::Pending => (
                LogLevel::Warn,
                "the job was taken from its worker, whose lease ran out, and waits again"
                    .to_owned(),
            ),
            to => (LogLevel::Info, format!("job {to}")),
        };
        Self {
            job_id: job,
            seq: 0,
            step: None,
            item_index: None,
            attempt: 0,
            timestamp: at,
            level,
            message,
            metadata,
        }
    }

    /// Puts what whoever ran an attempt said under [`LogEvent::KEY`] where it can't be taken for an event.
    pub fn of_attempt(mut self) -> Self {
        if let Some(said) = self.metadata.remove(LogEvent::KEY) {
            self.metadata
                .insert(LogEvent::SAID.into(), Value::clone(&said));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_move_but_to_a_waiting_state_has_an_event_of_its_own() {
        let jobs = JobStatus::ALL.iter().filter_map(|to| LogEvent::of_job(*to));
        let steps = StepStatus::ALL
            .iter()
            .filter_map(|to| LogEvent::of_step(*to));
        let mut told: Vec<_> = jobs.chain(steps).map(LogEvent::as_str).collect();
        told.push(LogEvent::StepExpanded.as_str());
        told.sort_unstable();
        let mut all: Vec<_> = LogEvent::ALL.iter().map(|event| event.as_str()).collect();
        all.sort_unstable();
        assert_eq!(told, all);
    }

    #[test]
    fn what_a_connector_says_is_no_event() {
        let at = Timestamp::from_micros(1);
        let line = LogLine::of_own_move(JobId(uuid::Uuid::nil()), JobStatus::Running, None, at);
        assert_eq!(line.event(), Some(LogEvent::JobStarted));
        let line = line.of_attempt();
        assert_eq!(line.event(), None);
        assert_eq!(line.metadata[LogEvent::SAID], "job_started");
    }
}
