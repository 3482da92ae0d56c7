//! What can go wrong between a program and the engine.

use crate::contract::StoreError;
use crate::model::{Fault, JobId};
use crate::runtime::IntakeError;

/// Why the engine did not do what a program asked for. A job that failed is not an error: it is an [`Outcome`](super::Outcome).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtlError {
    /// The pipeline is wrong: every fault of it.
    #[error("the pipeline is not valid: {}", joined(.0))]
    Invalid(Vec<Fault>),
    /// The job was not accepted.
    #[error(transparent)]
    Refused(#[from] IntakeError),
    /// There is no such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// There is no such pipeline.
    #[error("there is no pipeline {0:?}")]
    NoSuchPipeline(String),
    /// The pipeline version has no such step.
    #[error("pipeline {pipeline:?} has no step {step:?} in version {version}")]
    NoSuchStep {
        /// The pipeline's name.
        pipeline: String,
        /// The version.
        version: u64,
        /// The step that was named.
        step: String,
    },
    /// The store can't be reached or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A step's output does not have the shape that was asked for.
    #[error("the output of step {step:?} can't be read as asked")]
    Output {
        /// The step.
        step: String,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
}

fn joined(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.pointer, fault.message))
        .collect();
    lines.join("; ")
}
