//! The one place where jobs come in: parameters are checked, the job is remembered, and only then is it accepted.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::contract::Store;
use crate::contract::store::{StoreError, StoredPipeline, Submitted};
use crate::model::{
    By, Fault, JobId, NewJob, Pipeline, PipelineRef, TakenOver, Timestamp, TriggerType,
};
use crate::plan;

/// Accepts jobs.
#[derive(Debug, Clone)]
pub struct Intake {
    store: Arc<dyn Store>,
}

/// What makes a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// How.
    pub trigger_type: TriggerType,
    /// Who.
    pub by: By,
    /// The parameters as they were given.
    pub parameters: Map<String, Value>,
    /// Facts for the run itself, such as `base_dir`.
    pub context: Map<String, Value>,
    /// For a scheduled job: the nominal time of its fire.
    pub scheduled_for: Option<Timestamp>,
    /// How many jobs of the pipeline may run beside it, itself included, if fewer than the pipeline allows.
    pub max_active: Option<u32>,
    /// Two triggers with the same key make one job.
    pub idempotency_key: Option<String>,
    /// The job that this one repeats, and how many repeats came before.
    pub retry_of: Option<(JobId, u32)>,
    /// Results of the repeated job that this one takes over.
    pub taken_over: Vec<TakenOver>,
}

impl Trigger {
    /// A trigger with these parameters and nothing else.
    pub fn new(trigger_type: TriggerType, by: By, parameters: Map<String, Value>) -> Self {
        Self {
            trigger_type,
            by,
            parameters,
            context: Map::new(),
            scheduled_for: None,
            max_active: None,
            idempotency_key: None,
            retry_of: None,
            taken_over: Vec::new(),
        }
    }
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// The parameters don't fit the pipeline.
    #[error("{}", one_line(.0))]
    Parameters(Vec<Fault>),
    /// The idempotency key belongs to another job with another body.
    #[error("the idempotency key was used for job {0} with other parameters")]
    KeyTaken(JobId),
    /// The store did not take it.
    #[error("the job could not be stored")]
    Store(#[from] StoreError),
}

fn one_line(faults: &[Fault]) -> String {
    let faults: Vec<String> = faults
        .iter()
        .map(|fault| format!("parameter {}: {}", fault.pointer, fault.message))
        .collect();
    faults.join("; ")
}

impl Intake {
    /// Into this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Accepts a job of this pipeline version under this id. When it answers, the job is remembered.
    ///
    /// # Errors
    /// Why it was not accepted; then there is no job.
    pub async fn submit(
        &self,
        id: JobId,
        pipeline: &StoredPipeline,
        trigger: Trigger,
    ) -> Result<Submitted, IntakeError> {
        let job = new_job(id, &pipeline.reference, &pipeline.document, trigger)?;
        match self.store.submit(job).await? {
            Submitted::KeyTaken(other) => Err(IntakeError::KeyTaken(other)),
            submitted => Ok(submitted),
        }
    }
}

/// The job that a trigger makes of a pipeline version, for whoever has a store remember it: intake, or a scheduler together
/// with the fire.
///
/// # Errors
/// If the parameters don't fit.
pub(crate) fn new_job(
    id: JobId,
    pipeline: &PipelineRef,
    document: &Arc<Pipeline>,
    trigger: Trigger,
) -> Result<NewJob, IntakeError> {
    let parameters = plan::parameters(document.parameters.as_ref(), trigger.parameters)
        .map_err(IntakeError::Parameters)?;
    let (retry_of, retry_attempt) = trigger
        .retry_of
        .map_or((None, 0), |(job, attempt)| (Some(job), attempt + 1));
    Ok(NewJob {
        id,
        pipeline: pipeline.clone(),
        document: Arc::clone(document),
        trigger_type: trigger.trigger_type,
        triggered_by: trigger.by,
        scheduled_for: trigger.scheduled_for,
        parameters,
        context: trigger.context,
        priority: document.priority,
        max_active: trigger.max_active,
        idempotency_key: trigger.idempotency_key,
        retry_of,
        retry_attempt,
        taken_over: trigger.taken_over,
    })
}
