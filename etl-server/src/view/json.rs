//! Answers for programs: one JSON document on standard output and nothing else.

use etl_core::model::StepRecord;
use etl_core::sdk::Outcome;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::out::{Reader, write_out};
use crate::failure::{Exit, Failure};

/// Prints a document.
pub(crate) fn print_json(document: &impl Serialize) -> Result<Reader, Failure> {
    write(serde_json::to_vec_pretty(document))
}

/// Prints an object as one line.
pub(crate) fn print_line(object: &impl Serialize) -> Result<Reader, Failure> {
    write(serde_json::to_vec(object))
}

fn write(document: serde_json::Result<Vec<u8>>) -> Result<Reader, Failure> {
    let mut bytes = document.map_err(|error| {
        Failure::new(Exit::Unreachable, "the answer can't be written as JSON").because(error)
    })?;
    bytes.push(b'\n');
    write_out(&bytes)
}

/// What `etl run --json` prints: a contract.
pub(crate) fn run_document(outcome: &Outcome) -> Value {
    let job = &outcome.job;
    let steps: Vec<Value> = outcome
        .steps
        .iter()
        .filter(|step| !is_replaced(step))
        .map(step_document)
        .collect();
    json!({
        "job_id": job.id,
        "pipeline": job.pipeline,
        "status": job.status,
        "duration_ms": job.duration_ms,
        "rows_processed": job.rows_processed,
        "bytes_transferred": job.bytes_transferred,
        "error_message": job.error_message,
        "steps": steps,
    })
}

/// A step that fanned out is shown by its items.
pub(super) fn is_replaced(step: &StepRecord) -> bool {
    step.item_index.is_none() && step.items.is_some_and(|items| items > 0)
}

fn step_document(step: &StepRecord) -> Value {
    let artifacts: Map<String, Value> = step
        .artifacts
        .iter()
        .map(|artifact| (artifact.name.to_string(), artifact.uri.clone().into()))
        .collect();
    json!({
        "name": step.name,
        "index": step.item_index,
        "connector_type": step.connector_type,
        "status": step.status,
        "attempts": step.attempt,
        "rows_processed": step.rows_processed,
        "bytes_transferred": step.bytes_transferred,
        "duration_ms": step.duration_ms,
        "output": step.output_data,
        "artifacts": artifacts,
        "error_message": step.error_message,
    })
}
