//! Builders of what tests need much of.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::contract::store::StoredPipeline;
use crate::model::{
    By, Change, Concurrency, JobId, JobStatus, NewJob, OnLimit, Pipeline, Step, StepKey, StepPatch,
    StepStatus, TriggerType, WorkerId,
};

/// A pipeline in the making. Its steps are of the connector `probe`.
#[derive(Debug, Clone)]
pub struct PipelineBuilder(Pipeline);

/// Begins a pipeline without steps.
pub fn a_pipeline(name: &str) -> PipelineBuilder {
    PipelineBuilder(Pipeline::new(name))
}

impl PipelineBuilder {
    /// With a step that depends on nothing.
    pub fn step(self, name: &str) -> Self {
        self.step_after(name, &[])
    }

    /// With a step that depends on these.
    pub fn step_after(mut self, name: &str, dependencies: &[&str]) -> Self {
        let mut step = Step::new(name, "probe");
        step.dependencies = dependencies.iter().map(|&name| name.into()).collect();
        self.0.steps.push(step);
        self
    }

    /// With so many steps more that depend on nothing: `s0`, `s1` and so on by their position.
    pub fn steps(mut self, count: usize) -> Self {
        let first = self.0.steps.len();
        let names = (first..first + count).map(|n| Step::new(format!("s{n}"), "probe"));
        self.0.steps.extend(names);
        self
    }

    /// In this namespace.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.0.namespace = namespace.into();
        self
    }

    /// With so many jobs at once at most; more of them wait.
    pub fn with_limit(self, limit: u32) -> Self {
        self.at_limit(limit, OnLimit::Queue)
    }

    /// With this for a job that comes when as many as the limit are on their way.
    pub fn at_limit(mut self, limit: u32, on_limit: OnLimit) -> Self {
        self.0.concurrency = Some(Concurrency { limit, on_limit });
        self
    }

    /// With whatever else it takes.
    pub fn with(mut self, change: impl FnOnce(&mut Pipeline)) -> Self {
        change(&mut self.0);
        self
    }

    /// The document.
    pub fn build(self) -> Arc<Pipeline> {
        Arc::new(self.0)
    }
}

/// A job of a stored pipeline, by hand and without parameters, with the pipeline's priority. Jobs made later have later ids.
pub fn new_job(of: &StoredPipeline) -> NewJob {
    NewJob {
        id: JobId(Uuid::now_v7()),
        pipeline: of.reference.clone(),
        document: of.document.clone(),
        trigger_type: TriggerType::Manual,
        triggered_by: By::system(),
        scheduled_for: None,
        parameters: json!({}),
        context: Map::new(),
        priority: of.document.priority,
        max_active: None,
        idempotency_key: None,
        retry_of: None,
        retry_attempt: 0,
        taken_over: Vec::new(),
    }
}

/// A worker that nobody else is.
pub fn a_worker() -> WorkerId {
    WorkerId(Uuid::now_v7())
}

/// A step execution's move, of its first attempt and with nothing else.
pub fn moves(key: StepKey, to: StepStatus) -> Change {
    moves_with(key, to, StepPatch::default())
}

/// A step execution's move, of its first attempt, with what becomes true with it.
pub fn moves_with(key: StepKey, to: StepStatus, patch: StepPatch) -> Change {
    Change::Step {
        key,
        attempt: 1,
        to,
        patch: Box::new(patch),
    }
}

/// A step execution's success with this output.
pub fn succeeds(key: StepKey, output: Value) -> Change {
    let patch = StepPatch {
        output: Some(output),
        ..StepPatch::default()
    };
    moves_with(key, StepStatus::Success, patch)
}

/// The job's move by its owner, without figures.
pub fn ends(to: JobStatus) -> Change {
    Change::Job {
        to,
        error: None,
        error_stack: None,
        rows_processed: 0,
        bytes_transferred: 0,
    }
}
