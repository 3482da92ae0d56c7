//! Pipelines as they are shown.

use std::sync::Arc;

use etl_core::contract::store::StoredPipeline;
use etl_core::model::{By, Fault, Pipeline, PipelineId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::answer::Versioned;

/// A version of a pipeline, without its steps: a document may be large, and a list has many.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PipelineSummary")]
pub(in crate::api) struct Listed {
    id: PipelineId,
    namespace: Arc<str>,
    name: Arc<str>,
    version: u64,
    description: Option<String>,
    schedule: Option<String>,
    timezone: String,
    is_active: bool,
    tags: Vec<String>,
    created_by: By,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<StoredPipeline> for Listed {
    fn from(stored: StoredPipeline) -> Self {
        let document = &stored.document;
        Self {
            description: document.description.clone(),
            schedule: document.schedule.clone(),
            timezone: document.timezone.clone(),
            is_active: document.is_active,
            tags: document.tags.clone(),
            id: stored.reference.id,
            namespace: stored.reference.namespace,
            name: stored.reference.name,
            version: stored.reference.version,
            created_by: stored.created_by,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }
}

/// A version of a pipeline: its document, and what the server knows of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StoredPipeline")]
pub(in crate::api) struct ShownPipeline {
    id: PipelineId,
    version: u64,
    /// Who wrote this version.
    created_by: By,
    /// When the pipeline was first stored.
    created_at: Timestamp,
    /// When this version was.
    updated_at: Timestamp,
    #[serde(flatten)]
    document: Arc<Pipeline>,
}

impl From<StoredPipeline> for Versioned<ShownPipeline> {
    fn from(stored: StoredPipeline) -> Self {
        let version = stored.reference.version;
        let body = ShownPipeline {
            id: stored.reference.id,
            version,
            created_by: stored.created_by,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            document: stored.document,
        };
        Self { version, body }
    }
}

/// What is wrong with a document.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Validation")]
pub(in crate::api) struct Checked {
    /// Whether nothing is.
    valid: bool,
    errors: Vec<Found>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DocumentFault")]
struct Found {
    /// Where: a JSON pointer into the document.
    pointer: String,
    message: String,
    /// What to do, where it is known.
    hint: Option<String>,
}

impl Checked {
    pub(super) fn of(faults: Vec<Fault>) -> Self {
        Self {
            valid: faults.is_empty(),
            errors: faults
                .into_iter()
                .map(|fault| Found {
                    pointer: fault.pointer,
                    message: fault.message,
                    hint: fault.hint,
                })
                .collect(),
        }
    }
}
