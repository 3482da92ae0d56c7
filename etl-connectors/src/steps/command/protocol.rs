//! The step protocol: what a program says on its standard output, one JSON object a line.

use etl_core::contract::StepContext;
use etl_core::model::{StepError, StepTask};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::credential::CommandCredential;

/// A line of the protocol.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Line {
    Log {
        #[serde(default)]
        level: String,
        message: String,
        #[serde(default)]
        metadata: Map<String, Value>,
    },
    Progress {
        #[serde(default)]
        progress: Option<f64>,
        #[serde(default)]
        rows_processed: u64,
        #[serde(default)]
        bytes_transferred: u64,
        #[serde(default)]
        estimated_remaining: Option<f64>,
    },
    Checkpoint {
        state: Value,
    },
    Metric {
        name: String,
        value: f64,
    },
    Artifact {
        name: String,
        path: String,
    },
    Result(Outcome),
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub(super) struct Outcome {
    pub(super) success: bool,
    #[serde(default)]
    pub(super) rows_processed: u64,
    #[serde(default)]
    pub(super) bytes_transferred: u64,
    #[serde(default)]
    pub(super) output: Value,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

/// A line of the protocol; `None` for any other text, which is a log line.
///
/// # Errors
/// A result that can't be read: as a log line it would be lost, and with it how the step ended.
pub(super) fn parse(line: &str) -> Result<Option<Line>, StepError> {
    let line = line.trim();
    if !line.starts_with('{') {
        return Ok(None);
    }
    serde_json::from_str(line).map(Some).or_else(|error| {
        let other: Value = serde_json::from_str(line).unwrap_or_default();
        if other["type"] == "result" {
            let fault =
                StepError::permanent(format!("the program's result line is wrong: {error}"));
            return Err(fault.because(error));
        }
        Ok(None)
    })
}

/// The task as the program reads it on standard input.
pub(super) fn task_document(
    ctx: &StepContext,
    config: &Value,
    output_folder: Option<&str>,
    credential: Option<&CommandCredential>,
) -> Value {
    let StepTask {
        key,
        pipeline,
        step_name,
        connector_type,
        checkpoint,
        deadline,
        ..
    } = ctx.task();
    json!({
        "job_id": key.job,
        "pipeline": pipeline,
        "step": step_name,
        "item_index": key.step.item,
        "attempt": key.attempt,
        "connector_type": connector_type,
        "config": config,
        "checkpoint": checkpoint,
        "deadline": deadline,
        "idempotency_key": ctx.idempotency_key(),
        "output_folder": output_folder,
        "credential": credential.map(|credential| &credential.0),
    })
}
