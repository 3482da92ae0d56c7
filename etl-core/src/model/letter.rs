//! Dead letters as those who look after them see them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error_class::ErrorClass;
use super::ids::{JobId, PipelineId};
use super::job::By;
use super::status::vocabulary;
use super::time::Timestamp;

vocabulary! {
    /// What became of a dead letter.
    LetterStatus("state of a dead letter") {
        /// Nobody has looked after it yet.
        Open = "open",
        /// Its job is repeated.
        Requeued = "requeued",
        /// Nothing is to be done about it.
        Discarded = "discarded",
    }
}

/// A dead letter. The names are those of `dead_letters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LetterRecord {
    /// The step execution that failed: [`StepKey::execution_id`](super::StepKey::execution_id).
    pub id: Uuid,
    /// Its job.
    pub job_id: JobId,
    /// The job's pipeline.
    pub pipeline_id: PipelineId,
    /// The pipeline's namespace.
    pub namespace: Arc<str>,
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The step's name.
    pub step_name: Arc<str>,
    /// The step's position in the document.
    pub order_index: u32,
    /// The fan-out item's position; `None` for the step itself.
    pub item_index: Option<u32>,
    /// How often it was tried.
    pub attempts: u32,
    /// The class of the last failure.
    pub error_class: ErrorClass,
    /// The last failure.
    pub error_message: String,
    /// What became of the letter.
    pub status: LetterStatus,
    /// When the step failed for good.
    pub created_at: Timestamp,
    /// When the letter was settled.
    pub settled_at: Option<Timestamp>,
    /// Who settled it.
    pub settled_by: Option<By>,
    /// The job that repeats its job, if it was requeued.
    pub retry_job_id: Option<JobId>,
}

/// Which dead letters a list is about. Empty fields don't restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LetterFilter {
    /// Of jobs of this pipeline.
    pub pipeline: Option<PipelineId>,
    /// Of which this became.
    pub status: Option<LetterStatus>,
}
