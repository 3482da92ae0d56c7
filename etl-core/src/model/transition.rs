//! The table of legal transitions. Stores enforce it; nothing else decides which state may follow which.

use super::status::{JobStatus, StepStatus};

/// Who may make a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Writer {
    /// The dispatcher, when the queue has confirmed a hint.
    Dispatcher,
    /// A worker that claims.
    Claimer,
    /// The lease's owner, by a commit under its fence.
    Owner,
    /// Whoever cancels a job that nobody runs, in one write.
    Canceller,
    /// The reaper, when the lease has run out.
    Reaper,
}

/// Every legal move of a job. A move that is not here is refused by the database itself.
pub const JOB_TRANSITIONS: &[(JobStatus, JobStatus, &[Writer])] = &[
    (JobStatus::Pending, JobStatus::Queued, &[Writer::Dispatcher]),
    (JobStatus::Pending, JobStatus::Running, &[Writer::Claimer]),
    (
        JobStatus::Pending,
        JobStatus::Cancelled,
        &[Writer::Canceller],
    ),
    (JobStatus::Queued, JobStatus::Running, &[Writer::Claimer]),
    (
        JobStatus::Queued,
        JobStatus::Cancelled,
        &[Writer::Canceller],
    ),
    (
        JobStatus::Running,
        JobStatus::Pending,
        &[Writer::Owner, Writer::Reaper],
    ),
    (JobStatus::Running, JobStatus::Success, &[Writer::Owner]),
    (JobStatus::Running, JobStatus::Failed, &[Writer::Owner]),
    (
        JobStatus::Running,
        JobStatus::Cancelled,
        &[Writer::Owner, Writer::Reaper],
    ),
    (JobStatus::Running, JobStatus::Timeout, &[Writer::Owner]),
];

/// Every legal move of a step execution. Under a fence they are the owner's; the canceller and the reaper end what is
/// left of a job that they end.
pub const STEP_TRANSITIONS: &[(StepStatus, StepStatus)] = &[
    (StepStatus::Pending, StepStatus::Running),
    (StepStatus::Pending, StepStatus::Skipped),
    // A step whose configuration can't even be rendered fails without an attempt.
    (StepStatus::Pending, StepStatus::Failed),
    (StepStatus::Running, StepStatus::Success),
    (StepStatus::Running, StepStatus::Failed),
    (StepStatus::Running, StepStatus::Timeout),
    (StepStatus::Running, StepStatus::Cancelled),
    (StepStatus::Running, StepStatus::Retrying),
    (StepStatus::Retrying, StepStatus::Running),
    // The job ended while the step waited for its next attempt.
    (StepStatus::Retrying, StepStatus::Cancelled),
    (StepStatus::Retrying, StepStatus::Failed),
];

/// Who may move a job from `from` to `to`; `None` if nobody may.
pub fn job_transition(from: JobStatus, to: JobStatus) -> Option<&'static [Writer]> {
    JOB_TRANSITIONS
        .iter()
        .find(|(f, t, _)| (*f, *t) == (from, to))
        .map(|(_, _, writers)| *writers)
}

/// Whether a step execution may move from `from` to `to`.
pub fn step_transition(from: StepStatus, to: StepStatus) -> bool {
    STEP_TRANSITIONS.contains(&(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_states_are_absorbing_and_every_other_has_a_way_out() {
        for &from in JobStatus::ALL {
            let leaves = JobStatus::ALL
                .iter()
                .any(|&to| job_transition(from, to).is_some());
            assert_eq!(leaves, !from.is_terminal(), "{from}");
        }
        for &from in StepStatus::ALL {
            let leaves = StepStatus::ALL.iter().any(|&to| step_transition(from, to));
            assert_eq!(leaves, !from.is_terminal(), "{from}");
        }
    }

    #[test]
    fn every_state_can_be_reached() {
        for &to in JobStatus::ALL {
            assert!(
                to == JobStatus::Pending
                    || JobStatus::ALL
                        .iter()
                        .any(|&from| job_transition(from, to).is_some())
            );
        }
        for &to in StepStatus::ALL {
            assert!(
                to == StepStatus::Pending
                    || StepStatus::ALL
                        .iter()
                        .any(|&from| step_transition(from, to))
            );
        }
    }

    #[test]
    fn no_transition_is_listed_twice() {
        for (i, (from, to, _)) in JOB_TRANSITIONS.iter().enumerate() {
            assert!(
                JOB_TRANSITIONS[..i]
                    .iter()
                    .all(|(f, t, _)| (f, t) != (from, to))
            );
        }
    }
}
