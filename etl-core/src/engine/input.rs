//! Everything that can happen to a job.

use crate::model::{AttemptKey, StepEvent, Verdict};

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// The job was claimed: begin, or go on where the last owner stopped.
    Opened,
    /// So many more steps may run at once.
    Slots(usize),
    /// Other jobs wait for slots: the next one that is free goes back to them.
    Yield,
    /// The store has answered a commit.
    Committed {
        /// Which.
        seq: u64,
        /// What it said.
        verdict: Verdict,
    },
    /// A running attempt said something.
    Step {
        /// Which attempt.
        key: AttemptKey,
        /// What. Log lines and progress don't come here.
        event: StepEvent,
    },
    /// Whether an attempt of the last owner was found still running.
    Adopted {
        /// Which attempt.
        key: AttemptKey,
        /// If so, its events follow.
        found: bool,
    },
    /// A time that was asked for by [`Effect::Wake`](super::Effect::Wake) has come.
    Due,
    /// The job's end is asked for.
    Cancel {
        /// Why.
        reason: String,
    },
    /// The worker was told to stop: the job is to be another's, with what it has so far.
    HandBack,
    /// Somebody else has the job.
    LeaseLost,
}
