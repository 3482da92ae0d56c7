//! What the store keeps of a job.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::letters::Buried;
use super::line::Place;
use super::step::{Origin, StepRow, find, pending};
use crate::model::{
    By, Fence, HookRow, JobId, JobRecord, JobSnapshot, JobStatus, LogLine, NewJob, Pipeline,
    PipelineRef, StepKey, StepRecord, StepStatus, Timestamp, TriggerType, WorkerId,
};

pub(super) struct JobRow {
    pub(super) id: JobId,
    pub(super) pipeline: PipelineRef,
    pub(super) document: Arc<Pipeline>,
    pub(super) trigger_type: TriggerType,
    triggered_by: By,
    scheduled_for: Option<Timestamp>,
    pub(super) parameters: Arc<Value>,
    context: Map<String, Value>,
    pub(super) priority: u8,
    /// How many jobs of its pipeline may run beside it, itself included.
    pub(super) limit: Option<u32>,
    pub(super) idempotency_key: Option<String>,
    pub(super) retry_of: Option<JobId>,
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
    pub(super) letters: BTreeMap<StepKey, Buried>,
    pub(super) hooks: BTreeMap<u32, HookRow>,
    /// The positions of those that are not settled.
    pub(super) open_hooks: BTreeSet<u32>,
    /// A line's `seq` is its index + 1.
    pub(super) log: Vec<LogLine>,
}

/// Why a taken-over result does not fit its job.
pub(super) struct Misfit(pub(super) StepKey);

impl JobRow {
    pub(super) fn new(new: NewJob, now: Timestamp) -> Result<Self, Misfit> {
        let limit = new.concurrency_limit();
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
            limit,
            idempotency_key: new.idempotency_key,
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
            open_hooks: BTreeSet::new(),
            log: Vec::new(),
        })
    }

    pub(super) fn place(&self) -> Place {
        (Reverse(self.priority), self.created_at, self.id)
    }

    /// One of its step executions as readers see it.
    pub(super) fn step_record(&self, key: StepKey, row: &StepRow) -> StepRecord {
        let step = &self.steps[key.step as usize];
        let fan = step.fan.as_ref();
        // A step fans out in the moment in which it starts.
        let fanned_out_at = key.item.and(step.started_at);
        row.record(
            key,
            Origin {
                job: self.id,
                pipeline: self.pipeline.id,
                step: &self.document.steps[key.step as usize],
                item: key.item.and_then(|item| fan?.value(item)),
                created_at: fanned_out_at.unwrap_or(self.created_at),
            },
        )
    }

    pub(super) fn step(&mut self, key: StepKey) -> Option<&mut StepRow> {
        find(&mut self.steps, key)
    }

    /// Adds a line to its log.
    pub(super) fn tell(&mut self, line: LogLine) {
        let seq = self.log.len() as u64 + 1;
        self.log.push(LogLine {
            job_id: self.id,
            seq,
            ..line
        });
    }

    /// Tells of a move that the store makes by itself.
    pub(super) fn tell_move(&mut self, to: JobStatus, now: Timestamp) {
        self.tell(LogLine::of_own_move(self.id, to, self.started_at, now));
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
            log_last_seq: self.log.len() as u64,
        }
    }
}

pub(super) fn duration_ms(started: Option<Timestamp>, completed: Option<Timestamp>) -> Option<u64> {
    Some(completed?.since(started?).as_millis() as u64)
}
