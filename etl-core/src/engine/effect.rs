//! Everything that a job can ask for.

use crate::model::{AttemptKey, Commit, JobStatus, StepTask, Timestamp};

/// One thing that should happen.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Remember this, and say how it went by [`Input::Committed`](super::Input::Committed).
    Commit(Commit),
    /// Start this attempt; it is remembered as running.
    Start(Box<StepTask>),
    /// Look whether this attempt of the last owner still runs.
    Adopt(AttemptKey),
    /// Stop this attempt; its result still comes.
    Stop(AttemptKey),
    /// Say [`Input::Due`](super::Input::Due) at this time, or earlier. A later one replaces an earlier one.
    Wake(Timestamp),
    /// So many slots are not needed any more.
    Release(usize),
    /// The job is over for this owner; its state is this.
    Close(JobStatus),
}
