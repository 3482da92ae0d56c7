//! Rows of what a job leaves behind for others: dead letters, and hooks to be run after its end.

use etl_core::model::{DeadLetter, HookRow, HookTarget, JobId, PipelineRef, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::fault::Result;
use crate::rows::{Columns, item_column, json, parse_json, time, word};

/// A row of `dead_letters`.
#[derive(Debug, Clone, Serialize)]
pub struct LetterRow {
    id: Uuid,
    job: JobId,
    step: u32,
    item: i64,
    step_name: String,
    attempts: u32,
    error_class: &'static str,
    error_message: String,
    at: String,
}

impl LetterRow {
    /// The row of a letter that is written at `at`.
    pub fn new(job: JobId, letter: &DeadLetter, at: Timestamp) -> Self {
        Self {
            id: letter.key.execution_id(job),
            job,
            step: letter.key.step,
            item: item_column(letter.key),
            step_name: letter.step_name.clone(),
            attempts: letter.attempts,
            error_class: letter.error_class.as_str(),
            error_message: letter.error.clone(),
            at: time(at),
        }
    }
}

/// A row of `job_hooks`.
#[derive(Debug, Clone, Serialize)]
pub struct StoredHook {
    job: JobId,
    position: u32,
    kind: &'static str,
    target: String,
    at: String,
}

/// `job_hooks.target`, by `job_hooks.kind`.
#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Target {
    TriggerPipeline {
        name: String,
        parameters: Map<String, Value>,
        after: PipelineRef,
    },
    Webhook {
        url: String,
        credential: Option<String>,
    },
}

impl StoredHook {
    /// The row of a hook that is written at `at`.
    pub fn new(job: JobId, hook: &HookRow, at: Timestamp) -> Result<Self> {
        let (kind, target) = match hook.target.clone() {
            HookTarget::TriggerPipeline {
                name,
                parameters,
                after,
            } => (
                "trigger_pipeline",
                Target::TriggerPipeline {
                    name,
                    parameters,
                    after,
                },
            ),
            HookTarget::Webhook { url, credential } => {
                ("webhook", Target::Webhook { url, credential })
            }
        };
        Ok(Self {
            job,
            position: hook.position,
            kind,
            target: json(&target)?,
            at: time(at),
        })
    }
}

/// A dead letter of a row: `order_index`, `item_index`, `step_name`, `attempts`, `error_class`, `error_message`.
pub fn dead_letter(row: &impl Columns) -> Result<DeadLetter> {
    Ok(DeadLetter {
        key: row.key(0)?,
        step_name: row.str(2)?.into(),
        attempts: row.number(3)?,
        error_class: word(row.str(4)?)?,
        error: row.str(5)?.into(),
    })
}

/// A hook of a row: `position`, `target`.
pub fn hook(row: &impl Columns) -> Result<HookRow> {
    let target = match parse_json(row.str(1)?)? {
        Target::TriggerPipeline {
            name,
            parameters,
            after,
        } => HookTarget::TriggerPipeline {
            name,
            parameters,
            after,
        },
        Target::Webhook { url, credential } => HookTarget::Webhook { url, credential },
    };
    Ok(HookRow {
        position: row.number(0)?,
        target,
    })
}
