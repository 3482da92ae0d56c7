//! What the store keeps of a step execution. A row that is still `pending` is a few words, so that a job of 100,000 steps is
//! accepted by filling an array.

use serde_json::{Map, Value};

use super::row::duration_ms;
use crate::model::{
    Artifact, ErrorClass, JobId, PipelineId, SkipReason, Step, StepKey, StepPatch, StepRecord,
    StepSnapshot, StepStatus, TakenOver, Timestamp,
};

pub(super) struct StepRow {
    pub(super) status: StepStatus,
    skip_reason: Option<SkipReason>,
    attempt: u32,
    lost: u32,
    returned: u32,
    pub(super) started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    output: Value,
    artifacts: Vec<Artifact>,
    rows_processed: u64,
    bytes_transferred: u64,
    pub(super) fan: Option<Box<Fan>>,
    rare: Option<Box<Rare>>,
}

/// What a step fanned out to.
pub(super) struct Fan {
    values: Vec<Value>,
    pub(super) rows: Vec<StepRow>,
}

/// What few step executions have.
#[derive(Default)]
struct Rare {
    due_at: Option<Timestamp>,
    checkpoint_seq: u64,
    checkpoint: Option<Value>,
    metrics: Map<String, Value>,
    error_class: Option<ErrorClass>,
    error: Option<String>,
    error_stack: Option<String>,
}

const PENDING: StepRow = StepRow {
    status: StepStatus::Pending,
    skip_reason: None,
    attempt: 0,
    lost: 0,
    returned: 0,
    started_at: None,
    completed_at: None,
    output: Value::Null,
    artifacts: Vec::new(),
    rows_processed: 0,
    bytes_transferred: 0,
    fan: None,
    rare: None,
};

pub(super) fn pending(count: usize) -> Vec<StepRow> {
    std::iter::repeat_with(|| PENDING).take(count).collect()
}

/// What a step row does not say of itself.
pub(super) struct Origin<'a> {
    pub(super) job: JobId,
    pub(super) pipeline: PipelineId,
    pub(super) step: &'a Step,
    pub(super) item: Option<&'a Value>,
    pub(super) created_at: Timestamp,
}

impl Fan {
    pub(super) fn value(&self, item: u32) -> Option<&Value> {
        self.values.get(item as usize)
    }

    pub(super) fn new(values: Vec<Value>) -> Self {
        let rows = pending(values.len());
        Self { values, rows }
    }
}

impl StepRow {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The number of its last checkpoint, to be raised.
    pub(super) fn checkpoint_seq(&mut self) -> &mut u64 {
        &mut self.rare().checkpoint_seq
    }

    pub(super) fn set_checkpoint(&mut self, state: Value) {
        self.rare().checkpoint = Some(state);
    }

    /// What becomes true with a move to `to`, whether or not the status itself is set already.
    pub(super) fn enters(&mut self, to: StepStatus, at: Timestamp) {
        self.status = to;
        if to == StepStatus::Running && self.started_at.is_none() {
            self.started_at = Some(at);
        }
        if let Some(rare) = &mut self.rare {
            rare.due_at = None;
            if to.is_terminal() {
                rare.checkpoint = None;
            }
        }
        if to.is_terminal() {
            self.completed_at = Some(at);
        }
    }

    pub(super) fn apply(&mut self, attempt: u32, to: StepStatus, patch: &StepPatch, at: Timestamp) {
        self.enters(to, at);
        self.attempt = attempt;
        // Destructured, so that a new field can't be forgotten.
        let StepPatch {
            due_at,
            output,
            artifacts,
            rows_processed,
            bytes_transferred,
            metrics,
            lost,
            returned,
            skip_reason,
            error_class,
            error,
            error_stack,
        } = patch;
        if due_at.is_some() && to == StepStatus::Retrying {
            self.rare().due_at = *due_at;
        }
        if let Some(output) = output {
            self.output = output.clone();
        }
        if let Some(artifacts) = artifacts {
            self.artifacts.clone_from(artifacts);
        }
        self.rows_processed = rows_processed.unwrap_or(self.rows_processed);
        self.bytes_transferred = bytes_transferred.unwrap_or(self.bytes_transferred);
        if let Some(metrics) = metrics {
            self.rare().metrics.clone_from(metrics);
        }
        self.lost = lost.unwrap_or(self.lost);
        self.returned = returned.unwrap_or(self.returned);
        self.skip_reason = skip_reason.or(self.skip_reason);
        if error_class.is_some() {
            self.rare().error_class = *error_class;
        }
        if error.is_some() {
            self.rare().error.clone_from(error);
        }
        if error_stack.is_some() {
            self.rare().error_stack.clone_from(error_stack);
        }
    }

    /// Ends it together with a job that somebody else ends.
    pub(super) fn end_with_job(&mut self, now: Timestamp) {
        match self.status {
            StepStatus::Pending => {
                self.enters(StepStatus::Skipped, now);
                self.skip_reason = Some(SkipReason::JobEnded);
            }
            StepStatus::Running | StepStatus::Retrying => self.enters(StepStatus::Cancelled, now),
            _ => {}
        }
    }

    pub(super) fn take_over(&mut self, taken: TakenOver, now: Timestamp) {
        self.enters(StepStatus::Success, now);
        self.output = taken.output;
        self.artifacts = taken.artifacts;
        self.rows_processed = taken.rows_processed;
        self.bytes_transferred = taken.bytes_transferred;
        self.fan = taken.items.map(Fan::new).map(Box::new);
    }

    pub(super) fn snapshot(&self, key: StepKey) -> StepSnapshot {
        let rare = self.rare.as_deref();
        StepSnapshot {
            key,
            status: self.status,
            attempt: self.attempt,
            lost: self.lost,
            returned: self.returned,
            due_at: rare.and_then(|rare| rare.due_at),
            items: self.fan.as_ref().map(|fan| fan.values.clone()),
            output: self.output.clone(),
            artifacts: self.artifacts.clone(),
            rows_processed: self.rows_processed,
            bytes_transferred: self.bytes_transferred,
            skip_reason: self.skip_reason,
            checkpoint: rare.and_then(|rare| Some((rare.checkpoint_seq, rare.checkpoint.clone()?))),
        }
    }

    /// The row as readers see it, with what its job knows of it.
    pub(super) fn record(&self, key: StepKey, of: Origin<'_>) -> StepRecord {
        let rare = self.rare.as_deref();
        let Origin {
            job: job_id,
            pipeline,
            step,
            item,
            created_at,
        } = of;
        StepRecord {
            id: key.execution_id(job_id),
            job_id,
            step_id: pipeline.step_id(&step.name),
            name: step.name.as_str().into(),
            order_index: key.step,
            item_index: key.item,
            connector_type: step.connector_type.as_str().into(),
            status: self.status,
            progress: if self.status == StepStatus::Success {
                100
            } else {
                0
            },
            attempt: self.attempt,
            lost: self.lost,
            returned: self.returned,
            started_at: self.started_at,
            completed_at: self.completed_at,
            duration_ms: duration_ms(self.started_at, self.completed_at),
            next_run_at: rare.and_then(|rare| rare.due_at),
            items: self.fan.as_ref().map(|fan| fan.rows.len() as u32),
            input_data: item.cloned().unwrap_or_default(),
            output_data: self.output.clone(),
            logs_url: None,
            artifacts_url: None,
            artifacts: self.artifacts.clone(),
            rows_processed: self.rows_processed,
            bytes_transferred: self.bytes_transferred,
            metrics: rare.map(|rare| rare.metrics.clone()).unwrap_or_default(),
            skip_reason: self.skip_reason,
            error_class: rare.and_then(|rare| rare.error_class),
            error_message: rare.and_then(|rare| rare.error.clone()),
            error_stack: rare.and_then(|rare| rare.error_stack.clone()),
            created_at,
        }
    }
}

/// The row of this key, if there is one.
pub(super) fn find(steps: &mut [StepRow], key: StepKey) -> Option<&mut StepRow> {
    let row = steps.get_mut(key.step as usize)?;
    match key.item {
        None => Some(row),
        Some(item) => row.fan.as_mut()?.rows.get_mut(item as usize),
    }
}
