//! Notices of what happened, and the lines of a job's log.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{JobId, StepKey};
use super::status::{JobStatus, StepStatus};
use super::time::Timestamp;

/// How grave a log line is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// For who builds the connector.
    Debug,
    /// The course of things.
    #[default]
    Info,
    /// Worth a look.
    Warn,
    /// A failure.
    Error,
}

impl LogLevel {
    /// The word in rows and lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for LogLevel {
    type Err = std::convert::Infallible;

    /// Reads a level in any case; an unknown one counts as `INFO`, so that no line is lost over its level.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.to_ascii_uppercase().as_str() {
            "DEBUG" | "TRACE" => Self::Debug,
            "WARN" | "WARNING" => Self::Warn,
            "ERROR" | "CRITICAL" | "FATAL" => Self::Error,
            _ => Self::Info,
        })
    }
}

/// One line of a job's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// The job.
    pub job_id: JobId,
    /// Its place in the job's log, from 1 and without gaps; given by the journal, 0 before that.
    #[serde(default)]
    pub seq: u64,
    /// The step's name; `None` for a line about the job as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Arc<str>>,
    /// The fan-out item's position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_index: Option<u32>,
    /// Which attempt of the step; 0 for a line about the job.
    #[serde(default)]
    pub attempt: u32,
    /// When.
    pub timestamp: Timestamp,
    /// How grave.
    pub level: LogLevel,
    /// What happened.
    pub message: String,
    /// Details.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// A notice that something happened. Whoever misses one reads the store: events are never the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The job that it is about.
    pub job_id: JobId,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What an event tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The job changed its state.
    Job {
        /// To this.
        status: JobStatus,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error_message: Option<String>,
    },
    /// A step, or one item of its fan-out, changed its state.
    Step {
        /// The step's name.
        step: Arc<str>,
        /// Which execution.
        key: StepKey,
        /// To this.
        status: StepStatus,
        /// Which attempt, from 1; 0 before the first.
        attempt: u32,
        /// Rows that it handled, once it succeeded.
        rows_processed: u64,
        /// Why it failed or is retried.
        #[serde(skip_serializing_if = "Option::is_none")]
        error_message: Option<String>,
        /// The causes behind `error_message`, a line each.
        #[serde(skip_serializing_if = "Option::is_none")]
        error_stack: Option<String>,
    },
    /// A step was replaced by so many executions of its own.
    Expanded {
        /// The step's name.
        step: Arc<str>,
        /// Which step.
        key: StepKey,
        /// How many items.
        items: u32,
    },
    /// How far a running step is.
    Progress {
        /// The step's name.
        step: Arc<str>,
        /// Which execution.
        key: StepKey,
        /// Per cent, where it can tell.
        #[serde(skip_serializing_if = "Option::is_none")]
        progress: Option<u8>,
        /// Rows so far.
        rows_processed: u64,
        /// Bytes so far.
        bytes_transferred: u64,
    },
    /// A line of the job's log, in JSON as `line`.
    Log(#[serde(with = "as_line")] LogLine),
}

/// A line as a field of its own: among the event's, it would name the job twice.
mod as_line {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::LogLine;

    #[derive(Serialize)]
    struct Borrowed<'a> {
        line: &'a LogLine,
    }

    #[derive(Deserialize)]
    struct Owned {
        line: LogLine,
    }

    pub(super) fn serialize<S: Serializer>(line: &LogLine, to: S) -> Result<S::Ok, S::Error> {
        Borrowed { line }.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<LogLine, D::Error> {
        Owned::deserialize(from).map(|owned| owned.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_back_from_its_json() {
        let line = LogLine {
            job_id: JobId(uuid::Uuid::nil()),
            seq: 1,
            step: Some("s".into()),
            item_index: None,
            attempt: 1,
            timestamp: Timestamp::from_micros(5),
            level: LogLevel::Warn,
            message: "m".into(),
            metadata: Map::new(),
        };
        for kind in [
            EventKind::Log(line),
            EventKind::Job {
                status: JobStatus::Failed,
                error_message: Some("why".into()),
            },
        ] {
            let event = Event {
                job_id: JobId(uuid::Uuid::nil()),
                at: Timestamp::from_micros(7),
                kind,
            };
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(
                serde_json::from_str::<Event>(&text).unwrap(),
                event,
                "{text}"
            );
        }
    }
}
