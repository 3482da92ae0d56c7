//! Whoever counts what a process has made true: for metrics. Never the truth.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{JobStatus, PipelineRef, StepStatus, TriggerType};

/// Is told what a process has made true.
///
/// # Contract
/// Between the runtime, which tells once the store has answered, and a program that counts.
///
/// - `observe` MUST NOT wait, and must not panic: the job that it is told of stands still meanwhile.
/// - Over all processes each fact is told at most once: by the process whose commit made it true. One that dies between
///   the commit and the telling has not told it.
/// - Only what workers commit is told: a job that ended before any worker had it is not.
pub trait Observer: Debug + Send + Sync + 'static {
    /// Hears of this.
    fn observe(&self, observation: &Observation);
}

/// Something that has become true.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A job ended.
    JobEnded {
        /// Of which pipeline.
        pipeline: PipelineRef,
        /// How.
        status: JobStatus,
        /// What made it.
        trigger: TriggerType,
        /// How long since it was first claimed; `None` if it never was.
        took: Option<Duration>,
    },
    /// A step execution ended: a step, an item of a fan-out, or the fan-out as a whole after its items.
    StepEnded {
        /// By which connector.
        connector: Arc<str>,
        /// How.
        status: StepStatus,
        /// How long since its first attempt; `None` if it had none, or had it under another lease.
        took: Option<Duration>,
        /// Rows that it handled. Those of a fan-out are its items'.
        rows: u64,
        /// Bytes that it moved, likewise.
        bytes: u64,
    },
    /// An attempt failed or was lost and will be repeated. One that was given back is none.
    StepRetried {
        /// By which connector.
        connector: Arc<str>,
    },
    /// A step failed for good and became a dead letter.
    Buried,
    /// This process has lost a job that it had under a lease: it could not renew the lease in time, or somebody else has the job.
    LeaseLost,
    /// A schedule fired and made a job.
    Fired {
        /// How long after the job was to be made.
        lag: Duration,
    },
}
