//! The engine inside a program.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::builder::EtlBuilder;
use super::error::EtlError;
use super::function::{Function, Functions};
use super::handle::{JobHandle, Outcome};
use super::retry::{self, Repeat};
use crate::contract::store::{PutPipeline, ReapRequest, StoredPipeline};
use crate::contract::{Store, Subscription};
use crate::model::{By, JobId, JobStatus, Pipeline, TriggerType};
use crate::plan;
use crate::runtime::{Backends, Runtime, Trigger};

/// How long [`Etl::shutdown`] lets jobs end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The engine inside a program: services over backends, ready to run pipelines.
///
/// ```
/// use etl_core::sdk::{Etl, Flow};
/// use etl_core::model::StepError;
///
/// async fn numbers() -> Result<Vec<u64>, StepError> {
///     Ok(vec![1, 2, 3])
/// }
///
/// async fn total(numbers: Vec<u64>) -> Result<u64, StepError> {
///     Ok(numbers.iter().sum())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let flow = Flow::new("sum");
/// let numbers = flow.step("numbers", numbers);
/// let total = flow.step("total", total).after(&numbers);
///
/// let etl = Etl::builder().build();
/// let outcome = etl.run(&flow, Default::default()).await?;
/// assert_eq!(outcome.output(&total)?, 6);
/// # Ok::<(), etl_core::sdk::EtlError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Etl {
    runtime: Runtime,
    functions: Functions,
}

/// What can be run: a pipeline document, or a [`Flow`](super::Flow) of functions.
pub trait Runnable {
    /// The document.
    ///
    /// # Errors
    /// If it can't be made.
    fn document(&self) -> Result<Arc<Pipeline>, EtlError>;

    /// The functions that its steps call, by the name in their configuration.
    fn functions(&self) -> Vec<(String, Function)> {
        Vec::new()
    }
}

impl Runnable for Pipeline {
    fn document(&self) -> Result<Arc<Pipeline>, EtlError> {
        Ok(Arc::new(self.clone()))
    }
}

impl Runnable for Arc<Pipeline> {
    fn document(&self) -> Result<Arc<Pipeline>, EtlError> {
        Ok(Arc::clone(self))
    }
}

impl Etl {
    /// Chooses what it works with.
    pub fn builder() -> EtlBuilder {
        EtlBuilder::default()
    }

    pub(super) fn new(runtime: Runtime, functions: Functions) -> Self {
        Self { runtime, functions }
    }

    /// What it works with.
    pub fn backends(&self) -> &Backends {
        self.runtime.backends()
    }

    /// What it remembers in.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.backends().store
    }

    /// Checks a pipeline and stores it. The same document again is the same version.
    ///
    /// # Errors
    /// Every fault of the pipeline, or a store that can't be reached.
    pub async fn put(&self, pipeline: &impl Runnable) -> Result<StoredPipeline, EtlError> {
        for (name, function) in pipeline.functions() {
            self.functions.insert(name, function);
        }
        let document = pipeline.document()?;
        let faults = plan::validate(&document, &self.backends().registry);
        if !faults.is_empty() {
            return Err(EtlError::Invalid(faults));
        }
        let put = PutPipeline {
            document: Arc::clone(&document),
            expected_version: None,
            by: By::system(),
        };
        let reference = self.store().put_pipeline(put).await?;
        let stored = self
            .store()
            .pipeline_version(reference.id, reference.version)
            .await?;
        stored.ok_or_else(|| EtlError::NoSuchPipeline(document.name.clone()))
    }

    /// Runs one job of a pipeline to its end.
    ///
    /// # Errors
    /// If the job was not accepted or the store can't be reached. A job that failed is an [`Outcome`].
    pub async fn run(
        &self,
        pipeline: &impl Runnable,
        parameters: Map<String, Value>,
    ) -> Result<Outcome, EtlError> {
        self.start(pipeline, parameters).await?.wait().await
    }

    /// Starts one job of a pipeline. It goes on whatever becomes of the handle.
    ///
    /// # Errors
    /// If the job was not accepted or the store can't be reached.
    pub async fn start(
        &self,
        pipeline: &impl Runnable,
        parameters: Map<String, Value>,
    ) -> Result<JobHandle, EtlError> {
        let stored = self.put(pipeline).await?;
        self.submit(
            &stored,
            Trigger::new(TriggerType::Api, By::system(), parameters),
        )
        .await
    }

    /// Starts one job of a stored pipeline.
    ///
    /// # Errors
    /// If the job was not accepted or the store can't be reached.
    pub async fn submit(
        &self,
        pipeline: &StoredPipeline,
        trigger: Trigger,
    ) -> Result<JobHandle, EtlError> {
        // Watched before it exists, so that no notice of it is missed.
        let new = JobId(Uuid::now_v7());
        let watcher = self.watch(Some(new)).await;
        let job = self.runtime.submit(new, pipeline, trigger).await?;
        if job == new {
            return Ok(JobHandle::new(job, Arc::clone(self.store()), watcher));
        }
        self.take_up(job).await
    }

    /// Goes on with a job that is not at its end and that nobody runs any more, under its own id.
    ///
    /// # Errors
    /// If there is no such job or the store can't be reached.
    pub async fn resume(&self, job: JobId) -> Result<JobHandle, EtlError> {
        let reap = ReapRequest {
            job: Some(job),
            limit: 1,
        };
        self.store().reap(reap).await?;
        self.take_up(job).await
    }

    /// Counts a job that is in the store already as one that this runtime was handed, so that it is run here also with
    /// [`Scope::Own`](crate::runtime::Scope).
    pub fn adopt(&self, job: JobId) {
        self.runtime.adopt(job);
    }

    /// A job that is in the store already, and perhaps at its end.
    async fn take_up(&self, job: JobId) -> Result<JobHandle, EtlError> {
        let watcher = self.watch(Some(job)).await;
        let record = self.store().job(job).await?;
        let record = record.ok_or(EtlError::NoSuchJob(job))?;
        let handle = JobHandle::new(job, Arc::clone(self.store()), watcher);
        if record.status.is_terminal() {
            return Ok(handle.of_an_ended_job());
        }
        self.runtime.adopt(job);
        Ok(handle)
    }

    /// Repeats a job that has ended: a new job of the same pipeline version and parameters. With
    /// [`RetryFrom::Failed`] it takes over the results of the steps that succeeded.
    ///
    /// # Errors
    /// If there is no such job, it has not ended, or the store can't be reached.
    pub async fn retry(&self, job: JobId, from: RetryFrom, by: By) -> Result<JobHandle, EtlError> {
        let repeat = Repeat::from(from);
        let (pipeline, trigger) = retry::retry_trigger(&**self.store(), job, repeat, by).await?;
        self.submit(&pipeline, trigger).await
    }

    /// Asks for the end of a job, in whatever state it is. Answers where it is now; a running one ends soon after.
    ///
    /// # Errors
    /// If the store can't be reached or does not know the job.
    pub async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus, EtlError> {
        Ok(self.runtime.cancel(job, reason).await?)
    }

    /// Watches a job, or all. `None` if there is no bus to watch.
    pub async fn watch(&self, job: Option<JobId>) -> Option<Box<dyn Subscription>> {
        self.backends().events.subscribe(job).await.ok()
    }

    /// Takes no more jobs, lets those under way end for at most 30 seconds, and ends the services.
    pub async fn shutdown(self) {
        self.runtime.shutdown(PATIENCE).await;
    }
}

/// Where a repeated job begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RetryFrom {
    /// With the first step.
    #[default]
    Start,
    /// With the steps that did not succeed.
    Failed,
    /// With the step of this name: it and what depends on it run again, and so does whatever did not succeed.
    Step(String),
}
