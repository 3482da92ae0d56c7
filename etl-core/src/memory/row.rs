//! What the store keeps of a job and of each of its step executions. A step row that is still `pending` is a few words, so
//! that a job of 100,000 steps is accepted by filling an array.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::line::Place;
use crate::model::{
    Artifact, By, DeadLetter, ErrorClass, Fence, HookRow, JobId, JobRecord, JobSnapshot, JobStatus,
    LogLine, NewJob, Pipeline, PipelineRef, SkipReason, StepKey, StepPatch, StepRecord,
    StepSnapshot, StepStatus, TakenOver, Timestamp, TriggerType, WorkerId,
};

pub(super) struct JobRow {
    pub(super) id: JobId,
    pub(super) pipeline: PipelineRef,
    document: Arc<Pipeline>,
    pub(super) trigger_type: TriggerType,
    triggered_by: By,
    scheduled_for: Option<Timestamp>,
    pub(super) parameters: Arc<Value>,
    context: Map<String, Value>,
    pub(super) priority: u8,
    retry_of: Option<JobId>,
    retry_attempt: u32,
    pub(super) created_at: Timestamp,

    pub(super) status: JobStatus,
    /// When it was accepted or last handed back.
    pub(super) waiting_since: Timestamp,
    pub(super) fence: Fence,
    /// The last commit applied under `fence`.
    pub(super) seq: u64,
    pub(super) worker: Option<WorkerId>,
    pub(super) lease_expires_at: Option<Timestamp>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) completed_at: Option<Timestamp>,
    pub(super) cancel_requested: Option<String>,
    pub(super) rows_processed: u64,
    pub(super) bytes_transferred: u64,
    pub(super) error: Option<String>,
    pub(super) error_stack: Option<String>,

    pub(super) steps: Vec<StepRow>,
    pub(super) letters: BTreeMap<StepKey, DeadLetter>,
    pub(super) hooks: BTreeMap<u32, HookRow>,
    /// A line's `seq` is its index + 1.
    pub(super) log: Vec<LogLine>,
}

pub(super) struct StepRow {
    pub(super) status: StepStatus,
    skip_reason: Option<SkipReason>,
    attempt: u32,
    lost: u32,
    started_at: Option<Timestamp>,
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
    started_at: None,
    completed_at: None,
    output: Value::Null,
    artifacts: Vec::new(),
    rows_processed: 0,
    bytes_transferred: 0,
    fan: None,
    rare: None,
};

fn pending(count: usize) -> Vec<StepRow> {
    std::iter::repeat_with(|| PENDING).take(count).collect()
}

impl Fan {
    pub(super) fn new(values: Vec<Value>) -> Box<Self> {
        let rows = pending(values.len());
        Box::new(Self { values, rows })
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
    fn end_with_job(&mut self, now: Timestamp) {
        match self.status {
            StepStatus::Pending => {
                self.enters(StepStatus::Skipped, now);
                self.skip_reason = Some(SkipReason::JobEnded);
            }
            StepStatus::Running | StepStatus::Retrying => self.enters(StepStatus::Cancelled, now),
            _ => {}
        }
    }

    fn take_over(&mut self, taken: TakenOver, now: Timestamp) {
        self.enters(StepStatus::Success, now);
        self.output = taken.output;
        self.artifacts = taken.artifacts;
        self.rows_processed = taken.rows_processed;
        self.bytes_transferred = taken.bytes_transferred;
        self.fan = taken.items.map(Fan::new);
    }

    fn snapshot(&self, key: StepKey) -> StepSnapshot {
        let rare = self.rare.as_deref();
        StepSnapshot {
            key,
            status: self.status,
            attempt: self.attempt,
            lost: self.lost,
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
}

/// Why a taken-over result does not fit its job.
pub(super) struct Misfit(pub(super) StepKey);

impl JobRow {
    pub(super) fn new(new: NewJob, now: Timestamp) -> Result<Self, Misfit> {
        let mut steps = pending(new.document.steps.len());
        let (items, whole): (Vec<_>, Vec<_>) = new
            .taken_over
            .into_iter()
            .partition(|taken| taken.key.item.is_some());
        let mut fanned = Vec::new();
        for taken in whole.into_iter().chain(items) {
            let key = taken.key;
            if taken.items.is_some() {
                if key.item.is_some() {
                    return Err(Misfit(key));
                }
                fanned.push(key.step);
            }
            match find(&mut steps, key) {
                Some(row) if row.status == StepStatus::Pending => row.take_over(taken, now),
                _ => return Err(Misfit(key)),
            }
        }
        for step in fanned {
            let fan = steps[step as usize].fan.iter().flat_map(|fan| &fan.rows);
            if fan.clone().any(|row| row.status == StepStatus::Pending) {
                return Err(Misfit(StepKey::step(step)));
            }
        }
        Ok(Self {
            id: new.id,
            pipeline: new.pipeline,
            document: new.document,
            trigger_type: new.trigger_type,
            triggered_by: new.triggered_by,
            scheduled_for: new.scheduled_for,
            parameters: Arc::new(new.parameters),
            context: new.context,
            priority: new.priority,
            retry_of: new.retry_of,
            retry_attempt: new.retry_attempt,
            created_at: now,
            status: JobStatus::Pending,
            waiting_since: now,
            fence: Fence(0),
            seq: 0,
            worker: None,
            lease_expires_at: None,
            started_at: None,
            completed_at: None,
            cancel_requested: None,
            rows_processed: 0,
            bytes_transferred: 0,
            error: None,
            error_stack: None,
            steps,
            letters: BTreeMap::new(),
            hooks: BTreeMap::new(),
            log: Vec::new(),
        })
    }

    pub(super) fn place(&self) -> Place {
        (Reverse(self.priority), self.created_at, self.id)
    }

    /// How many jobs of its pipeline may run beside it, itself included.
    pub(super) fn limit(&self) -> Option<u32> {
        self.document.concurrency.map(|terms| terms.limit)
    }

    pub(super) fn step(&mut self, key: StepKey) -> Option<&mut StepRow> {
        find(&mut self.steps, key)
    }

    /// Ends every open step together with the job.
    pub(super) fn end_steps(&mut self, now: Timestamp) {
        for row in &mut self.steps {
            row.end_with_job(now);
            for item in row.fan.iter_mut().flat_map(|fan| &mut fan.rows) {
                item.end_with_job(now);
            }
        }
    }

    /// Every step execution with its key, in order, from `start`.
    pub(super) fn rows_from(&self, start: StepKey) -> impl Iterator<Item = (StepKey, &StepRow)> {
        let first = start.step as usize;
        (first..self.steps.len()).flat_map(move |index| {
            let (step, row) = (index as u32, &self.steps[index]);
            let items = row.fan.iter().flat_map(|fan| &fan.rows).enumerate();
            let skip = match start.item {
                Some(item) if index == first => item as usize,
                _ => 0,
            };
            std::iter::once((StepKey::step(step), row))
                .chain(
                    items
                        .skip(skip)
                        .map(move |(item, row)| (StepKey::item(step, item as u32), row)),
                )
                .filter(move |(key, _)| *key >= start)
        })
    }

    pub(super) fn snapshot(&self) -> JobSnapshot {
        JobSnapshot {
            id: self.id,
            pipeline: self.pipeline.clone(),
            document: self.document.clone(),
            trigger_type: self.trigger_type,
            scheduled_for: self.scheduled_for,
            parameters: self.parameters.clone(),
            context: self.context.clone(),
            retry_attempt: self.retry_attempt,
            started_at: self.started_at.unwrap_or(self.created_at),
            cancel_requested: self.cancel_requested.clone(),
            steps: self
                .rows_from(StepKey::step(0))
                .filter(|(_, row)| row.status != StepStatus::Pending)
                .map(|(key, row)| row.snapshot(key))
                .collect(),
        }
    }

    pub(super) fn record(&self) -> JobRecord {
        JobRecord {
            id: self.id,
            pipeline_id: self.pipeline.id,
            pipeline: self.pipeline.name.clone(),
            namespace: self.pipeline.namespace.clone(),
            pipeline_version: self.pipeline.version,
            status: self.status,
            trigger_type: self.trigger_type,
            triggered_by: self.triggered_by.clone(),
            scheduled_for: self.scheduled_for,
            parameters: Value::clone(&self.parameters),
            context: self.context.clone(),
            priority: self.priority,
            started_at: self.started_at,
            completed_at: self.completed_at,
            duration_ms: duration_ms(self.started_at, self.completed_at),
            worker_id: self.worker,
            fence: self.fence,
            lease_expires_at: self.lease_expires_at,
            retry_of: self.retry_of,
            retry_attempt: self.retry_attempt,
            cancel_requested: self.cancel_requested.clone(),
            rows_processed: self.rows_processed,
            bytes_transferred: self.bytes_transferred,
            error_message: self.error.clone(),
            error_stack: self.error_stack.clone(),
            created_at: self.created_at,
        }
    }

    pub(super) fn step_record(&self, key: StepKey, row: &StepRow) -> StepRecord {
        let step = &self.document.steps[key.step as usize];
        let rare = row.rare.as_deref();
        StepRecord {
            job_id: self.id,
            name: step.name.as_str().into(),
            order_index: key.step,
            item_index: key.item,
            connector_type: step.connector_type.as_str().into(),
            status: row.status,
            attempt: row.attempt,
            lost: row.lost,
            started_at: row.started_at,
            completed_at: row.completed_at,
            duration_ms: duration_ms(row.started_at, row.completed_at),
            next_run_at: rare.and_then(|rare| rare.due_at),
            items: row.fan.as_ref().map(|fan| fan.rows.len() as u32),
            output_data: row.output.clone(),
            artifacts: row.artifacts.clone(),
            rows_processed: row.rows_processed,
            bytes_transferred: row.bytes_transferred,
            metrics: rare.map(|rare| rare.metrics.clone()).unwrap_or_default(),
            skip_reason: row.skip_reason,
            error_class: rare.and_then(|rare| rare.error_class),
            error_message: rare.and_then(|rare| rare.error.clone()),
            error_stack: rare.and_then(|rare| rare.error_stack.clone()),
        }
    }
}

fn find(steps: &mut [StepRow], key: StepKey) -> Option<&mut StepRow> {
    let row = steps.get_mut(key.step as usize)?;
    match key.item {
        None => Some(row),
        Some(item) => row.fan.as_mut()?.rows.get_mut(item as usize),
    }
}

fn duration_ms(started: Option<Timestamp>, completed: Option<Timestamp>) -> Option<u64> {
    Some(completed?.since(started?).as_millis() as u64)
}
