//! Handles of steps: what they give, what they still need, and how they behave.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::flow::Inner;
use super::inputs::{Inputs, Source};
use crate::model::{ForEach, RetryPolicy, Step, TriggerRule, When};

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

/// A step that still needs these inputs: see [`StepHandle::after`] and [`StepHandle::for_each`].
#[derive(Debug)]
pub struct Needs<Args>(PhantomData<Args>);

impl<Out, State> StepHandle<Out, State> {
    pub(super) fn new(inner: Arc<Mutex<Inner>>, name: Arc<str>, position: usize) -> Self {
        Self {
            inner,
            name,
            position,
            types: PhantomData,
        }
    }

    /// The step's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The template that gives the URL of one of its artifacts, for the configuration of a connector that follows it.
    pub fn artifact(&self, name: &str) -> String {
        format!("{{{{ steps['{}'].artifacts['{name}'] }}}}", self.name)
    }

    /// Runs only after this step, whose output it does not take.
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
    /// Takes the outputs of these steps, or parameters, as its arguments, in order, and runs after them. The types must be
    /// equal.
    pub fn after(self, inputs: impl Inputs<Args>) -> StepHandle<Out> {
        let (templates, steps): (Vec<Value>, Vec<_>) = inputs
            .sources()
            .into_iter()
            .map(|(template, step)| (Value::from(template), step))
            .unzip();
        self.depend(steps.into_iter().flatten())
            .change(|step| step.config["inputs"] = templates.into())
            .wired()
    }

    fn wired<Given>(self) -> StepHandle<Given> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.unwired.retain(|unwired| *unwired != *self.name);
        drop(inner);
        StepHandle::new(self.inner, self.name, self.position)
    }
}

impl<Out, Item> StepHandle<Out, Needs<(Item,)>> {
    /// Runs once for each item of a list, with the item as its argument; each is an execution of its own, with retries of
    /// its own. What the step gives is the list of what they returned, in the order of the items. At most 100,000 items.
    ///
    /// ```
    /// # use etl_core::{sdk::Flow, model::StepError};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let flow = Flow::new("fan_out");
    /// let files = flow.step("files", || async { Ok::<_, StepError>(vec!["a.csv".to_owned(), "bb.csv".to_owned()]) });
    /// let sizes = flow
    ///     .step("sizes", |file: String| async move { Ok::<_, StepError>(file.len()) })
    ///     .for_each(&files);
    /// let total = flow
    ///     .step("total", |sizes: Vec<usize>| async move { Ok::<_, StepError>(sizes.iter().sum::<usize>()) })
    ///     .after(&sizes);
    /// let outcome = flow.run_inline(Default::default()).await?;
    /// assert_eq!((outcome.output(&sizes)?, outcome.output(&total)?), (vec![5, 6], 11));
    /// # Ok::<(), etl_core::sdk::EtlError>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each(self, list: &impl Source<Vec<Item>>) -> StepHandle<Vec<Out>> {
        let template = list.template();
        self.depend(list.step())
            .change(|step| {
                step.for_each = Some(ForEach::Template(template));
                step.config["inputs"] = json!(["{{ item }}"]);
            })
            .wired()
    }
}

impl<Out, State> std::fmt::Debug for StepHandle<Out, State> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StepHandle").field(&self.name).finish()
    }
}
