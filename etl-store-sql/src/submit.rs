//! The rows that new jobs make, and whether a job is known already.

use std::collections::HashSet;

use etl_core::contract::store::Submitted;
use etl_core::model::{JobId, NewJob, PipelineId, StepKey};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::fault::{Fault, Result};
use crate::rows::{Columns, count, item_column, json, parse_json, time};

/// A known job as far as a new one can be the same.
#[derive(Debug, Clone)]
pub struct Known {
    id: JobId,
    pipeline: PipelineId,
    version: u64,
    parameters: Value,
}

/// A row of `job_executions` to insert.
#[derive(Debug, Serialize)]
pub struct JobRow {
    id: JobId,
    pipeline_id: PipelineId,
    version: i64,
    trigger_type: &'static str,
    triggered_by: String,
    scheduled_for: Option<String>,
    parameters: String,
    context: String,
    priority: u8,
    concurrency_limit: Option<u32>,
    idempotency_key: Option<String>,
    retry_of: Option<JobId>,
    retry_attempt: u32,
    tags: Vec<String>,
}

/// A pending row of `step_executions`: its id, the job, the step's id, `order_index`.
pub type PendingRow = (Uuid, JobId, Uuid, u32);

/// A row of `step_executions` whose result an earlier job had.
#[derive(Debug, Serialize)]
pub struct TakenRow {
    id: Uuid,
    job: JobId,
    step_id: Uuid,
    step: u32,
    item: i64,
    items: Option<String>,
    item_count: Option<usize>,
    output_data: String,
    artifacts: String,
    rows_processed: i64,
    bytes_transferred: i64,
}

/// The rows that a group of new jobs makes.
#[derive(Debug, Default)]
pub struct NewRows {
    /// Of `job_executions`.
    pub jobs: Vec<JobRow>,
    /// Of `step_executions`, still to be run.
    pub pending: Vec<PendingRow>,
    /// Of `step_executions`, with results that an earlier job had.
    pub taken: Vec<TakenRow>,
}

impl From<&NewJob> for Known {
    fn from(job: &NewJob) -> Self {
        Self {
            id: job.id,
            pipeline: job.pipeline.id,
            version: job.pipeline.version,
            parameters: job.parameters.clone(),
        }
    }
}

impl Known {
    /// Of a row after its first column: `id`, `pipeline_id`, `pipeline_version`, `parameters`.
    pub fn of(row: &impl Columns) -> Result<Self> {
        Ok(Self {
            id: row.parsed(1)?,
            pipeline: row.parsed(2)?,
            version: row.number(3)?,
            parameters: parse_json(row.str(4)?)?,
        })
    }

    /// What becomes of a new job that has this one's id or key.
    pub fn answer(&self, job: &NewJob) -> Submitted {
        let same = (self.pipeline, self.version) == (job.pipeline.id, job.pipeline.version)
            && self.parameters == job.parameters;
        if same {
            Submitted::Existing(self.id)
        } else {
            Submitted::KeyTaken(self.id)
        }
    }
}

impl NewRows {
    /// Adds the rows of a job.
    ///
    /// # Errors
    /// `Illegal` if what it takes over does not fit; then nothing is added.
    pub fn add(&mut self, job: &NewJob) -> Result<()> {
        add(self, job)
    }
}

fn add(rows: &mut NewRows, job: &NewJob) -> Result<()> {
    let steps = &job.document.steps;
    let pipeline = job.pipeline.id;
    let mut taken = HashSet::new();
    let mut taken_rows = Vec::with_capacity(job.taken_over.len());
    let mut items = 0;
    for result in &job.taken_over {
        let step = steps.get(result.key.step as usize).ok_or_else(|| {
            Fault::illegal("a result is taken over for a step that the pipeline does not have")
        })?;
        if !taken.insert(result.key) {
            return Err(Fault::illegal("a result is taken over twice"));
        }
        items += result.items.as_ref().map_or(0, Vec::len);
        taken_rows.push(TakenRow {
            id: result.key.execution_id(job.id),
            job: job.id,
            step_id: pipeline.step_id(&step.name),
            step: result.key.step,
            item: item_column(result.key),
            items: result.items.as_ref().map(json).transpose()?,
            item_count: result.items.as_ref().map(Vec::len),
            output_data: json(&result.output)?,
            artifacts: json(&result.artifacts)?,
            rows_processed: count(result.rows_processed),
            bytes_transferred: count(result.bytes_transferred),
        });
    }
    check_items(job, &taken, items)?;
    rows.jobs.push(JobRow {
        id: job.id,
        pipeline_id: pipeline,
        version: count(job.pipeline.version),
        trigger_type: job.trigger_type.as_str(),
        triggered_by: job.triggered_by.0.clone(),
        scheduled_for: job.scheduled_for.map(time),
        parameters: json(&job.parameters)?,
        context: json(&job.context)?,
        priority: job.priority,
        concurrency_limit: job.concurrency_limit(),
        idempotency_key: job.idempotency_key.clone(),
        retry_of: job.retry_of,
        retry_attempt: job.retry_attempt,
        tags: job.document.tags.clone(),
    });
    rows.taken.extend(taken_rows);
    rows.pending.extend(
        steps
            .iter()
            .zip(0..)
            .filter(|(_, position)| !taken.contains(&StepKey::step(*position)))
            .map(|(step, position)| {
                (
                    StepKey::step(position).execution_id(job.id),
                    job.id,
                    pipeline.step_id(&step.name),
                    position,
                )
            }),
    );
    Ok(())
}

/// A step that fanned out is taken over with all its items, and no item without its step.
fn check_items(job: &NewJob, taken: &HashSet<StepKey>, items: usize) -> Result<()> {
    let complete = job.taken_over.iter().all(|result| {
        let count = result.items.as_ref().map_or(0, Vec::len);
        (0..count as u32).all(|item| taken.contains(&StepKey::item(result.key.step, item)))
    });
    let given = taken.iter().filter(|key| key.item.is_some()).count();
    if complete && given == items {
        Ok(())
    } else {
        Err(Fault::illegal(
            "a step that fanned out is not taken over with exactly its items",
        ))
    }
}
