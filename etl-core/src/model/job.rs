//! A job: as it is handed in, as a worker takes it up, and as readers see it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ErrorClass;
use super::ids::{Fence, JobId, PipelineId, StepKey, WorkerId};
use super::pipeline::Pipeline;
use super::status::{JobStatus, SkipReason, StepStatus, TriggerType};
use super::step::Artifact;
use super::time::Timestamp;

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct By(pub String);

impl By {
    /// The product itself.
    pub fn system() -> Self {
        Self("system".into())
    }

    /// The scheduler.
    pub fn scheduler() -> Self {
        Self("scheduler".into())
    }
}

/// One version of a stored pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PipelineRef {
    /// The pipeline over all its versions.
    pub id: PipelineId,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Which version, from 1.
    pub version: u64,
}

/// A job to be remembered. Its parameters are valid and its defaults filled in: intake saw to that.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Made by intake.
    pub id: JobId,
    /// The pipeline version that it is pinned to; the catalog has it.
    pub pipeline: PipelineRef,
    /// That version's document: the store makes the step rows from it.
    pub document: Arc<Pipeline>,
    /// What made it.
    pub trigger_type: TriggerType,
    /// Who made it.
    pub triggered_by: By,
    /// For a scheduled job: the nominal time of its fire.
    pub scheduled_for: Option<Timestamp>,
    /// An object that fits the pipeline's schema.
    pub parameters: Value,
    /// Facts for the run itself, such as `base_dir`. An object.
    pub context: Map<String, Value>,
    /// 0 to 9, 9 first.
    pub priority: u8,
    /// How many jobs of its pipeline may run beside it, itself included, if that is fewer than the document says. It waits
    /// for its turn; whoever else runs does not heed it.
    pub max_active: Option<u32>,
    /// Two jobs with the same key are one job.
    pub idempotency_key: Option<String>,
    /// The job that this one repeats.
    pub retry_of: Option<JobId>,
    /// How many repeats came before, this one included; 0 for a first job.
    pub retry_attempt: u32,
    /// Results of the repeated job that this one takes over.
    pub taken_over: Vec<TakenOver>,
}

impl NewJob {
    /// How many jobs of its pipeline may run at once for it to be claimed: what a store keeps beside it.
    pub fn concurrency_limit(&self) -> Option<u32> {
        let of_pipeline = self.document.concurrency.map(|terms| terms.limit);
        [of_pipeline, self.max_active].into_iter().flatten().min()
    }
}

/// The result of a step of an earlier job, kept by reference.
#[derive(Debug, Clone, PartialEq)]
pub struct TakenOver {
    /// Which step of the new job has it. A step that fanned out brings the step itself and all its items.
    pub key: StepKey,
    /// What `for_each` gave, for a step that fanned out.
    pub items: Option<Vec<Value>>,
    /// Its output.
    pub output: Value,
    /// Its artifacts, where they are.
    pub artifacts: Vec<Artifact>,
    /// Rows that it handled.
    pub rows_processed: u64,
    /// Bytes that it moved.
    pub bytes_transferred: u64,
}

/// That a job may be waiting: what a queue carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hint {
    /// Which job.
    pub job: JobId,
    /// 0 to 9, 9 first.
    pub priority: u8,
}

/// A claimed job as the machine needs it: everything but the step rows that are still `pending`.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSnapshot {
    /// Which job.
    pub id: JobId,
    /// The pipeline version that it is pinned to.
    pub pipeline: PipelineRef,
    /// That version's document.
    pub document: Arc<Pipeline>,
    /// What made it.
    pub trigger_type: TriggerType,
    /// For a scheduled job: the nominal time of its fire.
    pub scheduled_for: Option<Timestamp>,
    /// Its parameters.
    pub parameters: Arc<Value>,
    /// Facts for the run itself.
    pub context: Map<String, Value>,
    /// How many repeats came before.
    pub retry_attempt: u32,
    /// When it was first claimed; for a first claim, now.
    pub started_at: Timestamp,
    /// Why its end was asked for, if it was.
    pub cancel_requested: Option<String>,
    /// Every step execution that is past `pending`, by key.
    pub steps: Vec<StepSnapshot>,
}

/// A step execution as recovery needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSnapshot {
    /// Which.
    pub key: StepKey,
    /// Where it is.
    pub status: StepStatus,
    /// The last attempt; 0 before the first.
    pub attempt: u32,
    /// How many of its attempts were lost with their worker.
    pub lost: u32,
    /// How many of its attempts were given back by a worker that was told to stop.
    pub returned: u32,
    /// When the next attempt may start.
    pub due_at: Option<Timestamp>,
    /// What its `for_each` gave, once it fanned out.
    pub items: Option<Vec<Value>>,
    /// Its output.
    pub output: Value,
    /// Its artifacts.
    pub artifacts: Vec<Artifact>,
    /// Rows that it handled.
    pub rows_processed: u64,
    /// Bytes that it moved.
    pub bytes_transferred: u64,
    /// Why it was skipped.
    pub skip_reason: Option<SkipReason>,
    /// What its last checkpoint held, with the checkpoint's number.
    pub checkpoint: Option<(u64, Value)>,
}

/// A job as readers see it. The names are those of `job_executions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobRecord {
    /// Which job.
    pub id: JobId,
    /// Its pipeline.
    pub pipeline_id: PipelineId,
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The pipeline's namespace.
    pub namespace: Arc<str>,
    /// The version that it is pinned to.
    pub pipeline_version: u64,
    /// Where it is.
    pub status: JobStatus,
    /// What made it.
    pub trigger_type: TriggerType,
    /// Who made it.
    pub triggered_by: By,
    /// For a scheduled job: the nominal time of its fire.
    pub scheduled_for: Option<Timestamp>,
    /// Its parameters.
    pub parameters: Value,
    /// Facts for the run itself.
    pub context: Map<String, Value>,
    /// 0 to 9, 9 first.
    pub priority: u8,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// From the first claim to the end, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Who holds or last held its lease.
    pub worker_id: Option<WorkerId>,
    /// The last claim's number.
    pub fence: Fence,
    /// When its lease runs out, while it is running.
    pub lease_expires_at: Option<Timestamp>,
    /// The job that this one repeats.
    pub retry_of: Option<JobId>,
    /// How many repeats came before.
    pub retry_attempt: u32,
    /// Why its end was asked for.
    pub cancel_requested: Option<String>,
    /// Rows handled by all its steps.
    pub rows_processed: u64,
    /// Bytes moved by all its steps.
    pub bytes_transferred: u64,
    /// Why it failed.
    pub error_message: Option<String>,
    /// The causes behind `error_message`.
    pub error_stack: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The number of the last line of its log: what it says is true as of that line.
    #[serde(default)]
    pub log_last_seq: u64,
}

/// A step execution as readers see it. The names are those of `step_executions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepRecord {
    /// Which execution: [`StepKey::execution_id`].
    pub id: Uuid,
    /// The job.
    pub job_id: JobId,
    /// The step over all versions of its pipeline: [`PipelineId::step_id`].
    pub step_id: Uuid,
    /// The step's name.
    pub name: Arc<str>,
    /// The step's position in the document.
    pub order_index: u32,
    /// The fan-out item's position; `None` for the step itself.
    pub item_index: Option<u32>,
    /// The step's connector.
    pub connector_type: Arc<str>,
    /// Where it is.
    pub status: StepStatus,
    /// Per cent.
    pub progress: u8,
    /// Attempts so far.
    pub attempt: u32,
    /// How many of them were lost with their worker.
    pub lost: u32,
    /// How many of them were given back by a worker that was told to stop: they count neither as failed nor as lost.
    #[serde(default)]
    pub returned: u32,
    /// When its first attempt started.
    pub started_at: Option<Timestamp>,
    /// When it was settled.
    pub completed_at: Option<Timestamp>,
    /// From the first start to the end, in milliseconds.
    pub duration_ms: Option<u64>,
    /// When the next attempt may start, while it is `retrying`.
    pub next_run_at: Option<Timestamp>,
    /// For a step that fanned out: how many items.
    pub items: Option<u32>,
    /// The item, for an item of a fan-out.
    pub input_data: Value,
    /// Its output.
    pub output_data: Value,
    /// Where its log was archived.
    pub logs_url: Option<String>,
    /// Where its artifacts were archived.
    pub artifacts_url: Option<String>,
    /// Its artifacts.
    pub artifacts: Vec<Artifact>,
    /// Rows that it handled.
    pub rows_processed: u64,
    /// Bytes that it moved.
    pub bytes_transferred: u64,
    /// Figures of its own.
    pub metrics: Map<String, Value>,
    /// Why it was skipped.
    pub skip_reason: Option<SkipReason>,
    /// The class of its failure.
    pub error_class: Option<ErrorClass>,
    /// Why it failed, or why the last attempt did.
    pub error_message: Option<String>,
    /// The causes behind `error_message`.
    pub error_stack: Option<String>,
    /// When it came to be: with its job, an item when its step fanned out.
    pub created_at: Timestamp,
}

/// Which jobs a list is about. Empty fields don't restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// In any of these states.
    pub status: Vec<JobStatus>,
    /// Of this pipeline, by name.
    pub pipeline: Option<String>,
    /// Made in this way.
    pub trigger_type: Option<TriggerType>,
    /// Accepted at or after.
    pub created_from: Option<Timestamp>,
    /// Accepted before.
    pub created_to: Option<Timestamp>,
}
