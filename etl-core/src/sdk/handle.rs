//! A job that was started, and a job that has ended.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::EtlError;
use super::retry::all_steps;
use super::step::StepHandle;
use crate::contract::{Received, Store, Subscription};
use crate::model::{Event, EventKind, JobId, JobRecord, JobStatus, StepRecord};

/// How often the store is asked when no notice comes.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A job that was started.
#[derive(Debug)]
pub struct JobHandle {
    job: JobId,
    store: Arc<dyn Store>,
    watcher: Option<Box<dyn Subscription>>,
    ended: bool,
}

impl JobHandle {
    pub(super) fn new(
        job: JobId,
        store: Arc<dyn Store>,
        watcher: Option<Box<dyn Subscription>>,
    ) -> Self {
        Self {
            job,
            store,
            watcher,
            ended: false,
        }
    }

    /// A handle that waits for nothing.
    pub(super) fn of_an_ended_job(mut self) -> Self {
        self.ended = true;
        self
    }

    /// Which job.
    pub fn id(&self) -> JobId {
        self.job
    }

    /// The next notice of this job; `None` once it has ended. Notices may be missed, the end is not.
    ///
    /// # Errors
    /// If the store can't be reached when the bus is silent.
    pub async fn next_event(&mut self) -> Result<Option<Event>, EtlError> {
        while !self.ended {
            let heard = async {
                match &mut self.watcher {
                    Some(watcher) => watcher.next().await,
                    None => std::future::pending().await,
                }
            };
            match tokio::time::timeout(ASK_EVERY, heard).await {
                Ok(Some(Received::Event(event))) if event.job_id == self.job => {
                    self.ended = matches!(&event.kind, EventKind::Job { status, .. } if status.is_terminal());
                    return Ok(Some(event));
                }
                Ok(Some(Received::Event(_))) => {}
                Ok(Some(Received::Missed(_))) | Err(_) => {
                    self.ended = self.record().await?.status.is_terminal();
                }
                Ok(None) => self.watcher = None,
            }
        }
        Ok(None)
    }

    /// Waits for the job's end.
    ///
    /// # Errors
    /// If the store can't be reached.
    pub async fn wait(mut self) -> Result<Outcome, EtlError> {
        while self.next_event().await?.is_some() {}
        let job = self.record().await?;
        let steps = all_steps(&*self.store, self.job).await?;
        Ok(Outcome { job, steps })
    }

    async fn record(&self) -> Result<JobRecord, EtlError> {
        self.store
            .job(self.job)
            .await?
            .ok_or(EtlError::NoSuchJob(self.job))
    }
}

/// A job that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The job.
    pub job: JobRecord,
    /// Its step executions: each step, and after it the items that it fanned out to.
    pub steps: Vec<StepRecord>,
}

impl Outcome {
    /// How it ended.
    pub fn status(&self) -> JobStatus {
        self.job.status
    }

    /// Whether it succeeded.
    pub fn is_success(&self) -> bool {
        self.job.status == JobStatus::Success
    }

    /// A step by name (not one of its items).
    pub fn step(&self, name: &str) -> Option<&StepRecord> {
        self.steps
            .iter()
            .find(|step| &*step.name == name && step.item_index.is_none())
    }

    /// What a step returned; of a step that fanned out, the list of what its items returned.
    ///
    /// # Errors
    /// If the step did not succeed, so that there is nothing to read.
    pub fn output<T: DeserializeOwned, S>(&self, step: &StepHandle<T, S>) -> Result<T, EtlError> {
        let name = step.name();
        let output = match self.step(name) {
            Some(record) if record.items.is_some() => self
                .steps
                .iter()
                .filter(|step| &*step.name == name && step.item_index.is_some())
                .map(|item| item.output_data.clone())
                .collect(),
            Some(record) => record.output_data.clone(),
            None => Value::Null,
        };
        serde_json::from_value(output).map_err(|source| EtlError::Output {
            step: name.into(),
            source,
        })
    }
}
