//! Plain async functions as steps: a connector that calls the function that its configuration names.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::{Connector, NoCredential, StepContext};
use crate::model::{BoxError, Report, StepError};

/// A function with its types erased.
pub type Function = Arc<dyn Fn(StepContext, Vec<Value>) -> FunctionFuture + Send + Sync>;
type FunctionFuture = Pin<Box<dyn Future<Output = Result<Value, StepError>> + Send>>;

/// The functions that a process knows, as the connector `function`. Clones share them.
#[derive(Clone, Default)]
pub struct Functions(Arc<RwLock<HashMap<String, Function>>>);

/// Calls a function of the program that embeds the engine.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionConfig {
    /// The pipeline's and the step's name, with a slash between them.
    function: String,
    /// The outputs of the steps that it takes as arguments.
    #[serde(default)]
    inputs: Vec<Value>,
}

impl Functions {
    pub(super) fn insert(&self, name: String, function: Function) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, function);
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Functions").field(&functions.keys()).finish()
    }
}

impl Connector for Functions {
    const NAME: &'static str = "function";
    type Config = FunctionConfig;
    type Credential = NoCredential;

    fn description(&self) -> &'static str {
        "Calls a function of the program that embeds the engine"
    }

    async fn run(
        &self,
        config: FunctionConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        let function = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&config.function)
            .cloned();
        let function = function.ok_or_else(|| {
            StepError::permanent(format!(
                "this program has no function {:?}; give its flow to `EtlBuilder::flow`",
                config.function
            ))
        })?;
        let stop = ctx.cancelled().clone();
        let output = tokio::select! {
            output = function(ctx, config.inputs) => output?,
            () = stop.cancelled() => return Err(StepError::transient("cancelled")),
        };
        Ok(Report::default().with_output(output))
    }
}

/// An async function or closure that can be a step: it takes the outputs of the steps before it, at most eight, and returns
/// a result.
///
/// `Args` is the tuple of its arguments and `Out` what it returns; both are found by the compiler. Arguments and output pass
/// as JSON, so that a job can go on in another process: they implement serde's traits, and an output has at most 256 KiB.
///
/// Its error may be [`StepError`], which says by its class whether another attempt may help, or any other error, `anyhow`'s
/// too: [`StepError::from_error`] says what that stands for.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a step",
    note = "a step is an async function of at most eight arguments that serde can read; it returns a `Result` whose value serde can write and whose error is an error"
)]
pub trait StepFunction<Args, Out>: Send + Sync + 'static {
    /// With its types erased. The context is dropped: see [`Flow::step_with_context`](super::Flow::step_with_context).
    fn erase(self) -> Function;
}

/// The same with a context as the first argument.
pub trait ContextFunction<Args, Out>: Send + Sync + 'static {
    /// With its types erased.
    fn erase(self) -> Function;
}

macro_rules! function_of {
    ($($arg:ident),*) => {
        impl<F, Fut, Out, E, $($arg,)*> StepFunction<($($arg,)*), Out> for F
        where
            F: Fn($($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<Out, E>> + Send + 'static,
            Out: Serialize,
            E: Into<BoxError>,
            $($arg: DeserializeOwned + Send + 'static,)*
        {
            fn erase(self) -> Function {
                ContextFunction::<($($arg,)*), Out>::erase(move |_ctx: StepContext, $(#[allow(non_snake_case)] $arg: $arg),*| self($($arg),*))
            }
        }

        impl<F, Fut, Out, E, $($arg,)*> ContextFunction<($($arg,)*), Out> for F
        where
            F: Fn(StepContext, $($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<Out, E>> + Send + 'static,
            Out: Serialize,
            E: Into<BoxError>,
            $($arg: DeserializeOwned + Send + 'static,)*
        {
            #[allow(non_snake_case, unused_variables, unused_mut)]
            fn erase(self) -> Function {
                let function = Arc::new(self);
                Arc::new(move |ctx, inputs| {
                    let function = Arc::clone(&function);
                    Box::pin(async move {
                        let mut inputs = inputs.into_iter();
                        $(let $arg: $arg = argument(inputs.next())?;)*
                        let output = function(ctx, $($arg),*).await.map_err(StepError::from_error)?;
                        serde_json::to_value(output)
                            .map_err(|error| StepError::permanent("what the function returned is no JSON").because(error))
                    })
                })
            }
        }
    };
}

function_of!();
function_of!(A);
function_of!(A, B);
function_of!(A, B, C);
function_of!(A, B, C, D);
function_of!(A, B, C, D, E1);
function_of!(A, B, C, D, E1, F1);
function_of!(A, B, C, D, E1, F1, G);
function_of!(A, B, C, D, E1, F1, G, H);

fn argument<T: DeserializeOwned>(input: Option<Value>) -> Result<T, StepError> {
    T::deserialize(input.unwrap_or_default()).map_err(|error| {
        StepError::permanent("an input does not have the type that the function takes")
            .because(error)
    })
}
