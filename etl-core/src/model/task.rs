//! What an attempt of a step gets and what it says back: the step protocol as types.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::LogLevel;
use super::ids::{Fence, JobId, StepKey};
use super::pipeline::{ExecutorKind, Resources};
use super::step::ArtifactName;
use super::step_error::StepError;
use super::time::Timestamp;

/// One attempt of one step execution. Executors name what they start by it, so that starting twice is attaching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The job.
    pub job: JobId,
    /// The step execution in it.
    pub step: StepKey,
    /// From 1.
    pub attempt: u32,
}

/// Everything that an attempt needs to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTask {
    /// Which attempt this is.
    pub key: AttemptKey,
    /// The fence of the lease that it runs under.
    pub fence: Fence,
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The step's name.
    pub step_name: Arc<str>,
    /// Which connector does the work.
    pub connector_type: Arc<str>,
    /// The connector's configuration, templates rendered.
    pub config: Arc<Value>,
    /// The name of the stored credential that the connector gets.
    pub credential: Option<Arc<str>>,
    /// Where to run.
    pub executor: ExecutorKind,
    /// What an isolated attempt may use.
    pub resources: Option<Resources>,
    /// What the last checkpoint of an earlier attempt held.
    pub checkpoint: Option<Value>,
    /// When the attempt will be stopped.
    pub deadline: Timestamp,
    /// The folder that relative paths in `config` are read against; without it they are refused.
    pub base_dir: Option<BaseDir>,
}

/// The folder that a job's relative paths are read against, and the one around it that they may not leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseDir {
    /// Where relative paths begin: the folder of the pipeline's file. Absolute.
    pub folder: Arc<str>,
    /// How far up a `..` may lead: `folder`, or a folder around it. Absolute.
    pub root: Arc<str>,
}

impl BaseDir {
    /// A folder that is its own root: no relative path may leave it.
    pub fn closed(folder: impl Into<Arc<str>>) -> Self {
        let folder = folder.into();
        Self {
            root: Arc::clone(&folder),
            folder,
        }
    }
}

impl StepTask {
    /// The same text for every attempt of this step execution: what an idempotent effect is keyed by.
    pub fn idempotency_key(&self) -> String {
        format!("{}-{}", self.key.job, self.key.step)
    }
}

/// One thing that a running attempt says. `Result` is the last.
#[derive(Debug)]
pub enum StepEvent {
    /// A line for the job's log.
    Log {
        /// How grave.
        level: LogLevel,
        /// What happened.
        message: String,
        /// Details.
        metadata: Map<String, Value>,
    },
    /// How far it is.
    Progress {
        /// Per cent, 0 to 100, where it can tell.
        progress: Option<u8>,
        /// Rows so far.
        rows_processed: u64,
        /// Bytes so far.
        bytes_transferred: u64,
        /// What it thinks is left.
        estimated_remaining: Option<Duration>,
    },
    /// A point from which a later attempt may go on.
    Checkpoint(Value),
    /// A figure of its own.
    Metric {
        /// Its name.
        name: String,
        /// Its value.
        value: f64,
    },
    /// A file or folder that it wrote under its own prefix.
    Artifact {
        /// The name under which others find it.
        name: ArtifactName,
        /// Where it is.
        uri: String,
    },
    /// Its end.
    Result(Result<Report, StepError>),
}

/// What a finished attempt reports.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Rows that it handled.
    pub rows_processed: u64,
    /// Bytes that it moved.
    pub bytes_transferred: u64,
    /// What dependants see as `steps.NAME.output`: at most 256 KiB of JSON.
    pub output: Value,
    /// For a step that reads records: where each of them went. The engine refuses a report that does not balance.
    pub balance: Option<Balance>,
}

impl Report {
    /// A report of `rows` handled and nothing else.
    pub fn rows(rows: u64) -> Self {
        Self {
            rows_processed: rows,
            ..Self::default()
        }
    }

    /// The same report with this output.
    pub fn with_output(mut self, output: impl Into<Value>) -> Self {
        self.output = output.into();
        self
    }
}

/// Where the records that a step read went: `rows_read = rows_loaded + rows_quarantined + rows_filtered`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Balance {
    /// Records read.
    pub rows_read: u64,
    /// Records written to the sink.
    pub rows_loaded: u64,
    /// Records set aside as bad.
    pub rows_quarantined: u64,
    /// Records that the step's own query left out.
    pub rows_filtered: u64,
}

impl Balance {
    /// Whether every record that was read is accounted for.
    pub fn holds(&self) -> bool {
        let accounted = self
            .rows_loaded
            .checked_add(self.rows_quarantined)
            .and_then(|n| n.checked_add(self.rows_filtered));
        accounted == Some(self.rows_read)
    }
}

/// How often a connector's effect may happen when attempts are lost and repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Must not be repeated: after a lost attempt a person decides.
    AtMostOnce,
    /// Repeating it changes nothing, by its nature or by the key that it is given.
    Idempotent,
    /// Rows and checkpoint become true in one transaction at the target.
    Transactional,
    /// Written aside under the attempt's own name and published in one atomic act.
    Staged,
}

impl EffectClass {
    /// The name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at_most_once",
            Self::Idempotent => "idempotent",
            Self::Transactional => "transactional",
            Self::Staged => "staged",
        }
    }
}

/// Where in the data an error is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// The file or URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column's name, or its position from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The record, from 1, headers not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(file) = &self.file {
            write!(f, "{file}")?;
            separator = ", ";
        }
        if let Some(line) = self.line {
            write!(f, "{separator}line {line}")?;
            separator = ", ";
        }
        if let Some(row) = self.row {
            write!(f, "{separator}row {row}")?;
            separator = ", ";
        }
        if let Some(column) = &self.column {
            write!(f, "{separator}column {column}")?;
        }
        Ok(())
    }
}
