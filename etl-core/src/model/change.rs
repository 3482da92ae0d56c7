//! What must be remembered, as data. A store is an interpreter of changes; the in-memory one is the reference.

use serde_json::{Map, Value};

use super::error_class::ErrorClass;
use super::event::LogLine;
use super::ids::{Fence, JobId, StepKey};
use super::job::PipelineRef;
use super::status::{JobStatus, SkipReason, StepStatus};
use super::step::Artifact;
use super::time::Timestamp;

/// The right to change a job: it holds while no later claim has been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseRef {
    /// The job.
    pub job: JobId,
    /// The claim's number.
    pub fence: Fence,
}

/// One guarded write. A closed set: a new variant does not compile until every backend knows it.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The job moves to a terminal state, or back to `pending` when its owner drains.
    Job {
        /// Where to.
        to: JobStatus,
        /// Why it failed.
        error: Option<String>,
        /// The causes behind `error`.
        error_stack: Option<String>,
        /// Rows handled by all its steps.
        rows_processed: u64,
        /// Bytes moved by all its steps.
        bytes_transferred: u64,
    },
    /// A step execution moves.
    Step {
        /// Which.
        key: StepKey,
        /// The attempt that the move belongs to; 0 before the first.
        attempt: u32,
        /// Where to.
        to: StepStatus,
        /// What else becomes true with it.
        patch: Box<StepPatch>,
    },
    /// A pending step becomes `running` and gets one `pending` execution for each item.
    Expand {
        /// The step.
        step: u32,
        /// The items, in order.
        items: Vec<Value>,
    },
    /// A running attempt's checkpoint. It replaces the one before.
    Checkpoint {
        /// Whose.
        key: StepKey,
        /// Larger than any number before it for this step execution.
        seq: u64,
        /// What a later attempt gets back.
        state: Value,
    },
    /// A step failed for good: a letter for who looks after dead letters.
    Bury(DeadLetter),
    /// Something to do after the job's end, remembered with the end.
    Hook(HookRow),
}

/// What becomes true of a step execution together with its new state. `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepPatch {
    /// When the next attempt may start.
    pub due_at: Option<Timestamp>,
    /// Its output.
    pub output: Option<Value>,
    /// Its artifacts.
    pub artifacts: Option<Vec<Artifact>>,
    /// Rows that it handled.
    pub rows_processed: Option<u64>,
    /// Bytes that it moved.
    pub bytes_transferred: Option<u64>,
    /// Figures of its own.
    pub metrics: Option<Map<String, Value>>,
    /// How many of its attempts were lost with their worker.
    pub lost: Option<u32>,
    /// How many of its attempts were given back by a worker that was told to stop.
    pub returned: Option<u32>,
    /// Why it was skipped.
    pub skip_reason: Option<SkipReason>,
    /// The class of the failure.
    pub error_class: Option<ErrorClass>,
    /// Why it failed, or why it is retried.
    pub error: Option<String>,
    /// The causes behind `error`.
    pub error_stack: Option<String>,
}

/// A step that failed for good, as it is set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Which step execution.
    pub key: StepKey,
    /// The step's name.
    pub step_name: String,
    /// Attempts made.
    pub attempts: u32,
    /// The class of the last failure.
    pub error_class: ErrorClass,
    /// The last failure.
    pub error: String,
}

/// Something to do after a job's end.
#[derive(Debug, Clone, PartialEq)]
pub struct HookRow {
    /// The hook's position among those of its outcome: with the job it is the row's identity.
    pub position: u32,
    /// What to do.
    pub target: HookTarget,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq)]
pub enum HookTarget {
    /// Start a job of this pipeline of the same namespace.
    TriggerPipeline {
        /// The pipeline's name.
        name: String,
        /// The job's parameters, templates rendered.
        parameters: Map<String, Value>,
        /// The pipeline whose job this follows.
        after: PipelineRef,
    },
    /// Send the job's outcome.
    Webhook {
        /// Where to.
        url: String,
        /// The stored credential that signs it.
        credential: Option<String>,
    },
}

/// All changes of one job that must become true together, under one fence.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// Under which lease.
    pub lease: LeaseRef,
    /// From 1 under each fence, without gaps: that a commit whose outcome was unknown is sent again is told by it.
    pub seq: u64,
    /// When it was decided, by the worker's clock; rows show it, nothing is compared with it between processes.
    pub at: Timestamp,
    /// In order.
    pub changes: Vec<Change>,
    /// What the job's log says of the changes, in order; their `seq` is given by the store.
    pub lines: Vec<LogLine>,
}

/// What a store answers to a commit. Losing is an answer, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is true now.
    Applied,
    /// It was true already: the same commit came twice.
    AlreadyApplied,
    /// The lease is no longer this worker's, or the job has ended.
    Lost {
        /// Where the job is.
        now: JobStatus,
    },
}
