//! Pipelines of functions: handles for edges, so that a mismatch does not compile and a cycle can't be written.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::embedded::{Etl, Runnable};
use super::error::EtlError;
use super::function::{ContextFunction, Function, StepFunction};
use super::handle::Outcome;
use crate::model::{Fault, Pipeline, RetryPolicy, Step, TriggerRule, When};

/// A pipeline that is being written in Rust. Steps are async functions, or connectors with a configuration.
///
/// Names are the durable identity of steps: a job that was interrupted goes on by them.
#[derive(Clone)]
pub struct Flow {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    pipeline: Pipeline,
    functions: Vec<(String, Function)>,
    /// Steps whose inputs have not been given.
    unwired: Vec<String>,
}

/// A step of a flow. `Out` is what it gives to the steps after it; `State` says whether its own inputs are given.
pub struct StepHandle<Out, State = Wired> {
    inner: Arc<Mutex<Inner>>,
    name: Arc<str>,
    position: usize,
    types: PhantomData<fn() -> (Out, State)>,
}

/// A step whose inputs are given.
#[derive(Debug)]
pub enum Wired {}

/// A step that still needs these inputs: see [`StepHandle::after`].
#[derive(Debug)]
pub struct Needs<Args>(PhantomData<Args>);

/// Steps whose outputs, in order, are `Args`: `&a`, or a tuple `(&a, &b)` of up to four.
pub trait Inputs<Args> {
    /// Their names, in order.
    fn names(&self) -> Vec<Arc<str>>;
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

    /// Adds a step that calls an async function. If the function takes arguments, say what they are by
    /// [`StepHandle::after`].
    ///
    /// ```compile_fail
    /// # use etl_core::{sdk::Flow, model::StepError};
    /// let flow = Flow::new("mismatch");
    /// let text = flow.step("text", || async { Ok::<_, StepError>(String::new()) });
    /// // A number is wanted and text is given: this does not compile.
    /// let number = flow.step("number", |n: u64| async move { Ok::<_, StepError>(n) }).after(&text);
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

    /// Adds a step that calls an async function whose first argument is the [`StepContext`](crate::contract::StepContext).
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

    /// Adds a step that a connector does. Its output is whatever JSON the connector gives.
    pub fn connector(&self, name: &str, connector_type: &str, config: Value) -> StepHandle<Value> {
        let mut step = Step::new(name, connector_type);
        step.config = config;
        self.push(step)
    }

    /// Changes the document beside its steps: description, schedule, parameters, concurrency, hooks …
    pub fn configure(&self, change: impl FnOnce(&mut Pipeline)) -> &Self {
        change(&mut self.lock().pipeline);
        self
    }

    /// The document: what the server stores and what a YAML file of the same pipeline says.
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
        StepHandle {
            inner: Arc::clone(&self.inner),
            name,
            position,
            types: PhantomData,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

impl<Out, State> StepHandle<Out, State> {
    /// The step's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs only after these steps, whose outputs it does not take.
    pub fn follows<Other, OtherState>(self, other: &StepHandle<Other, OtherState>) -> Self {
        self.depend([Arc::clone(&other.name)])
    }

    /// How many attempts may follow a failed first one, and how long to wait between them.
    pub fn retry(self, count: u32, policy: RetryPolicy) -> Self {
        self.change(|step| {
            step.retry_count = count;
            step.retry = policy;
        })
    }

    /// How long one attempt may run; rounded up to whole seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.change(|step| {
            step.timeout_seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        })
    }

    /// Runs only if this template gives true.
    pub fn when(self, template: impl Into<String>) -> Self {
        let template = template.into();
        self.change(|step| step.when = Some(When::Template(template)))
    }

    /// What of its dependencies lets it run.
    pub fn trigger_rule(self, rule: TriggerRule) -> Self {
        self.change(|step| step.trigger_rule = rule)
    }

    fn change(self, change: impl FnOnce(&mut Step)) -> Self {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = inner.pipeline.steps.get_mut(self.position) {
            change(step);
        }
        drop(inner);
        self
    }

    fn depend(self, names: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.change(|step| {
            for name in names {
                if step.dependencies.iter().all(|known| **known != *name) {
                    step.dependencies.push(name.to_string());
                }
            }
        })
    }
}

impl<Out, Args> StepHandle<Out, Needs<Args>> {
    /// Takes the outputs of these steps as its arguments, in order, and runs after them. The types must be equal.
    pub fn after(self, inputs: impl Inputs<Args>) -> StepHandle<Out> {
        let names = inputs.names();
        let outputs: Vec<Value> = names
            .iter()
            .map(|name| format!("{{{{ steps['{name}'].output }}}}").into())
            .collect();
        let handle = self
            .depend(names)
            .change(|step| step.config["inputs"] = outputs.into());
        let mut inner = handle.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.unwired.retain(|unwired| *unwired != *handle.name);
        drop(inner);
        StepHandle {
            inner: handle.inner,
            name: handle.name,
            position: handle.position,
            types: PhantomData,
        }
    }
}

impl<Out, State> std::fmt::Debug for StepHandle<Out, State> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StepHandle").field(&self.name).finish()
    }
}

/// A step whose own inputs are settled, so that others may follow it: it takes none, or they were given.
trait Settled {}
impl Settled for Wired {}
impl Settled for Needs<()> {}

macro_rules! inputs_of {
    ($($arg:ident $state:ident $at:tt),+) => {
        #[allow(private_bounds)]
        impl<$($arg: DeserializeOwned, $state: Settled),+> Inputs<($($arg,)+)> for ($(&StepHandle<$arg, $state>,)+) {
            fn names(&self) -> Vec<Arc<str>> {
                vec![$(Arc::clone(&self.$at.name)),+]
            }
        }
    };
}

inputs_of!(A S 0);
inputs_of!(A S 0, B T 1);
inputs_of!(A S 0, B T 1, C U 2);
inputs_of!(A S 0, B T 1, C U 2, D V 3);

#[allow(private_bounds)]
impl<A: DeserializeOwned, S: Settled> Inputs<(A,)> for &StepHandle<A, S> {
    fn names(&self) -> Vec<Arc<str>> {
        vec![Arc::clone(&self.name)]
    }
}
