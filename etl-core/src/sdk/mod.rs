//! The engine for embedding: a builder that wires backends, pipelines of plain async functions with typed edges, and jobs
//! that are run, watched, cancelled and repeated.

mod builder;
mod embedded;
mod error;
mod flow;
mod function;
mod handle;
mod inputs;
mod retry;
mod step;

pub use builder::EtlBuilder;
pub use embedded::{Etl, RetryFrom, Runnable};
pub use error::EtlError;
pub use flow::Flow;
pub use function::{ContextFunction, Function, Functions, StepFunction};
pub use handle::{JobHandle, Outcome};
pub use inputs::{Inputs, Parameter, Settled, Source};
pub use retry::{Repeat, retry_trigger};
pub use step::{Needs, StepHandle, Wired};
