//! Pipelines of functions: handles for edges, so that a mismatch does not compile and a cycle can't be written.

use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::embedded::{Etl, Runnable};
use super::error::EtlError;
use super::function::{ContextFunction, Function, StepFunction};
use super::handle::Outcome;
use super::inputs::Parameter;
use super::step::{Needs, StepHandle};
use crate::model::{Fault, Pipeline, Step};

/// A pipeline that is being written in Rust. Steps are async functions, or connectors with a configuration. Clones are the
/// same flow.
///
/// Each step gives a handle, and a later step takes what an earlier one returns by it. A mismatch of types does not compile,
/// and a cycle can't be written, because a handle exists before those who use it.
///
/// Names are the durable identity of steps: a job that was interrupted goes on by them.
///
/// ```
/// use etl_core::model::StepError;
/// use etl_core::sdk::Flow;
///
/// async fn total(numbers: Vec<u64>, factor: u64) -> Result<u64, StepError> {
///     Ok(numbers.iter().sum::<u64>() * factor)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let flow = Flow::new("sum");
/// let factor = flow.parameter::<u64>("factor");
/// let numbers = flow.step("numbers", || async { Ok::<_, StepError>(vec![1, 2, 3]) });
/// let total = flow.step("total", total).after((&numbers, &factor));
///
/// let parameters = serde_json::json!({ "factor": 2 }).as_object().cloned().unwrap_or_default();
/// let outcome = flow.run_inline(parameters).await?;
/// assert_eq!(outcome.output(&total)?, 12);
/// # Ok::<(), etl_core::sdk::EtlError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Flow {
    inner: Arc<Mutex<Inner>>,
}

pub(super) struct Inner {
    pub(super) pipeline: Pipeline,
    functions: Vec<(String, Function)>,
    /// Steps whose inputs have not been given.
    pub(super) unwired: Vec<String>,
}

impl Flow {
    /// A pipeline of this name without steps.
    pub fn new(name: impl Into<String>) -> Self {
        let inner = Inner {
            pipeline: Pipeline::new(name),
            functions: Vec::new(),
            unwired: Vec::new(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Adds a step that calls an async function or closure. If it takes arguments, say what they are by
    /// [`StepHandle::after`].
    ///
    /// ```
    /// # use etl_core::{sdk::Flow, model::StepError};
    /// let flow = Flow::new("match");
    /// let number = flow.step("number", || async { Ok::<_, StepError>(7_u64) });
    /// flow.step("double", |n: u64| async move { Ok::<_, StepError>(n * 2) }).after(&number);
    /// ```
    ///
    /// A number is wanted and text is given: this does not compile.
    ///
    /// ```compile_fail,E0277
    /// # use etl_core::{sdk::Flow, model::StepError};
    /// let flow = Flow::new("mismatch");
    /// let text = flow.step("text", || async { Ok::<_, StepError>(String::new()) });
    /// flow.step("double", |n: u64| async move { Ok::<_, StepError>(n * 2) }).after(&text);
    /// ```
    ///
    /// Neither does one argument too few, nor a step whose own inputs were not given.
    ///
    /// ```compile_fail,E0277
    /// # use etl_core::{sdk::Flow, model::StepError};
    /// let flow = Flow::new("too_few");
    /// let number = flow.step("number", || async { Ok::<_, StepError>(7_u64) });
    /// flow.step("sum", |a: u64, b: u64| async move { Ok::<_, StepError>(a + b) }).after(&number);
    /// ```
    ///
    /// ```compile_fail,E0277
    /// # use etl_core::{sdk::Flow, model::StepError};
    /// let flow = Flow::new("unwired");
    /// let number = flow.step("number", |n: u64| async move { Ok::<_, StepError>(n) });
    /// flow.step("double", |n: u64| async move { Ok::<_, StepError>(n * 2) }).after(&number);
    /// ```
    pub fn step<F, Args, Out>(&self, name: &str, function: F) -> StepHandle<Out, Needs<Args>>
    where
        F: StepFunction<Args, Out>,
        Args: 'static,
    {
        self.add(
            name,
            StepFunction::erase(function),
            std::any::TypeId::of::<Args>() != std::any::TypeId::of::<()>(),
        )
    }

    /// Adds a step that calls an async function whose first argument is the [`StepContext`](crate::contract::StepContext):
    /// for progress, log lines, checkpoints, artifacts, and to hear of the end.
    ///
    /// ```
    /// use etl_core::contract::{Progress, StepContext};
    /// use etl_core::model::StepError;
    /// use etl_core::sdk::Flow;
    ///
    /// async fn load(ctx: StepContext, rows: Vec<u64>) -> Result<u64, StepError> {
    ///     // Where an earlier attempt came to.
    ///     let done = ctx.restored().and_then(serde_json::Value::as_u64).unwrap_or(0);
    ///     for at in done..rows.len() as u64 {
    ///         if ctx.cancelled().is_cancelled() {
    ///             return Err(StepError::transient("stopped"));
    ///         }
    ///         ctx.progress(Progress { rows_processed: at + 1, ..Progress::default() });
    ///         ctx.checkpoint((at + 1).into()).await;
    ///     }
    ///     ctx.info(format!("{} rows", rows.len())).await;
    ///     Ok(rows.len() as u64)
    /// }
    ///
    /// let flow = Flow::new("with_context");
    /// let rows = flow.step("rows", || async { Ok::<_, StepError>(vec![1_u64, 2]) });
    /// flow.step_with_context("load", load).after(&rows);
    /// ```
    pub fn step_with_context<F, Args, Out>(
        &self,
        name: &str,
        function: F,
    ) -> StepHandle<Out, Needs<Args>>
    where
        F: ContextFunction<Args, Out>,
        Args: 'static,
    {
        self.add(
            name,
            ContextFunction::erase(function),
            std::any::TypeId::of::<Args>() != std::any::TypeId::of::<()>(),
        )
    }

    /// Adds a step that a connector does. Its output is whatever JSON the connector gives. Texts in `config` may be templates,
    /// such as [`StepHandle::artifact`] gives.
    pub fn connector(&self, name: &str, connector_type: &str, config: Value) -> StepHandle<Value> {
        let mut step = Step::new(name, connector_type);
        step.config = config;
        self.push(step)
    }

    /// Adds a parameter that each job has to be given. Its JSON Schema is that of the type.
    pub fn parameter<T: DeserializeOwned + JsonSchema>(&self, name: &str) -> Parameter<T> {
        let mut inner = self.lock();
        let schema = inner.pipeline.parameters.get_or_insert_default();
        let required = schema.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            required.push(name.into());
        }
        inner.describe_parameter(name, schema_of::<T>());
        Parameter::new(name)
    }

    /// Adds a parameter that a job may be given; without it the job has `default`.
    pub fn parameter_or<T: DeserializeOwned + Serialize + JsonSchema>(
        &self,
        name: &str,
        default: T,
    ) -> Parameter<T> {
        let mut schema = schema_of::<T>();
        if let (Some(schema), Ok(default)) = (schema.as_object_mut(), serde_json::to_value(default))
        {
            schema.insert("default".into(), default);
        }
        self.lock().describe_parameter(name, schema);
        Parameter::new(name)
    }

    /// Changes the document beside its steps: description, schedule, parameters, concurrency, hooks …
    pub fn configure(&self, change: impl FnOnce(&mut Pipeline)) -> &Self {
        change(&mut self.lock().pipeline);
        self
    }

    /// The document: what the server stores and what a YAML file of the same pipeline says. An engine that was given the flow
    /// by [`EtlBuilder::flow`](super::EtlBuilder::flow) runs it by its document too.
    ///
    /// # Errors
    /// Names every step whose inputs were not given.
    pub fn describe(&self) -> Result<Pipeline, EtlError> {
        let inner = self.lock();
        if inner.unwired.is_empty() {
            return Ok(inner.pipeline.clone());
        }
        let fault = |name: &String| Fault {
            pointer: "/steps".into(),
            message: format!("step {name:?} takes inputs and was given none"),
            hint: Some("say which steps it follows by `.after(…)`".into()),
        };
        Err(EtlError::Invalid(inner.unwired.iter().map(fault).collect()))
    }

    /// Runs one job to its end in memory: for a script, or a test.
    ///
    /// # Errors
    /// Every fault of the pipeline or its parameters.
    pub async fn run_inline(&self, parameters: Map<String, Value>) -> Result<Outcome, EtlError> {
        let etl = Etl::builder().build();
        let outcome = etl.run(self, parameters).await;
        etl.shutdown().await;
        outcome
    }

    fn add<Out, State>(
        &self,
        name: &str,
        function: Function,
        takes_inputs: bool,
    ) -> StepHandle<Out, State> {
        let function_name = format!("{}/{name}", self.lock().pipeline.name);
        let mut step = Step::new(name, "function");
        step.config = json!({ "function": function_name });
        let handle = self.push(step);
        let mut inner = self.lock();
        inner.functions.push((function_name, function));
        if takes_inputs {
            inner.unwired.push(name.into());
        }
        drop(inner);
        handle
    }

    fn push<Out, State>(&self, step: Step) -> StepHandle<Out, State> {
        let name = step.name.as_str().into();
        let mut inner = self.lock();
        let position = inner.pipeline.steps.len();
        inner.pipeline.steps.push(step);
        drop(inner);
        StepHandle::new(Arc::clone(&self.inner), name, position)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn describe_parameter(&mut self, name: &str, schema: Value) {
        let parameters = self.pipeline.parameters.get_or_insert_default();
        parameters.entry("type").or_insert_with(|| "object".into());
        let properties = parameters.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert(name.into(), schema);
        }
    }
}

/// The schema of a type, in one piece: a reference would point into another document.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Flow")
            .field(&self.lock().pipeline.name)
            .finish()
    }
}

impl Runnable for Flow {
    fn document(&self) -> Result<Arc<Pipeline>, EtlError> {
        self.describe().map(Arc::new)
    }

    fn functions(&self) -> Vec<(String, Function)> {
        self.lock().functions.clone()
    }
}
