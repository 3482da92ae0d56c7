//! What the database itself refuses: conditions made from the engine's own table of transitions, for triggers to enforce.

use std::fmt::Write as _;

use etl_core::model::{JobStatus, StepStatus, job_transition, step_transition};

/// A change of a row that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// A name for a trigger of its own.
    pub name: &'static str,
    /// The table whose rows it guards.
    pub table: &'static str,
    /// Which changes it looks at.
    pub event: GuardedEvent,
    /// The SQL condition over `OLD` and `NEW` under which the change is refused.
    pub when: String,
    /// What whoever tries is told.
    pub message: &'static str,
}

/// Which changes a guard looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardedEvent {
    /// New rows.
    Insert,
    /// Changes of any of these columns.
    Update(&'static [&'static str]),
}

/// What an ended job may not change in any more, besides its status.
const JOB_VERDICT: &[&str] = &[
    "id",
    "pipeline_id",
    "pipeline_version",
    "parameters",
    "fence",
    "commit_seq",
    "started_at",
    "completed_at",
    "duration_ms",
    "rows_processed",
    "bytes_transferred",
    "error_message",
    "error_stack",
];

/// What a settled step may not change in any more, besides its status.
const STEP_VERDICT: &[&str] = &[
    "id",
    "job_id",
    "order_index",
    "item_index",
    "attempt",
    "started_at",
    "completed_at",
    "duration_ms",
    "output_data",
    "artifacts",
    "items",
    "skip_reason",
    "rows_processed",
    "bytes_transferred",
    "error_class",
    "error_message",
    "error_stack",
];

/// Every guard, by name.
pub fn guards() -> Vec<Guard> {
    let (jobs, steps) = ("job_executions", "step_executions");
    let job_moves = moves(
        JobStatus::ALL,
        |from, to| job_transition(from, to).is_some(),
        JobStatus::as_str,
    );
    let step_moves = moves(StepStatus::ALL, step_transition, StepStatus::as_str);
    let job_ends = words(JobStatus::ALL, JobStatus::is_terminal, JobStatus::as_str);
    let step_ends = words(StepStatus::ALL, StepStatus::is_terminal, StepStatus::as_str);
    vec![
        Guard {
            name: "job_ended",
            table: jobs,
            event: GuardedEvent::Update(JOB_VERDICT),
            when: format!("OLD.status IN ({job_ends})"),
            message: "a job that has ended does not change",
        },
        Guard {
            name: "job_fence",
            table: jobs,
            event: GuardedEvent::Update(&["fence"]),
            when: "NEW.fence < OLD.fence".into(),
            message: "a fence does not get smaller",
        },
        Guard {
            name: "job_moves",
            table: jobs,
            event: GuardedEvent::Update(&["status"]),
            when: format!("OLD.status <> NEW.status AND NOT ({job_moves})"),
            message: "a job can not move so",
        },
        Guard {
            name: "job_starts",
            table: jobs,
            event: GuardedEvent::Insert,
            when: "NEW.status <> 'pending'".into(),
            message: "a job starts as pending",
        },
        Guard {
            name: "step_ended",
            table: steps,
            event: GuardedEvent::Update(STEP_VERDICT),
            when: format!("OLD.status IN ({step_ends})"),
            message: "a step that is settled does not change",
        },
        Guard {
            name: "step_moves",
            table: steps,
            event: GuardedEvent::Update(&["status"]),
            when: format!("OLD.status <> NEW.status AND NOT ({step_moves})"),
            message: "a step can not move so",
        },
        Guard {
            name: "step_starts",
            table: steps,
            event: GuardedEvent::Insert,
            when: "NEW.status NOT IN ('pending', 'success')".into(),
            message: "a step starts as pending, or as success if its result is taken over",
        },
    ]
}

/// `OLD.status = 'a' AND NEW.status IN ('b', 'c') OR …`
fn moves<S: Copy>(
    all: &[S],
    may: impl Fn(S, S) -> bool,
    word: impl Fn(S) -> &'static str + Copy,
) -> String {
    let mut text = String::new();
    for &from in all {
        let targets = words(all, |to| may(from, to), word);
        if targets.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push_str(" OR ");
        }
        let _ = write!(
            text,
            "OLD.status = '{}' AND NEW.status IN ({targets})",
            word(from)
        );
    }
    text
}

fn words<S: Copy>(
    all: &[S],
    is_wanted: impl Fn(S) -> bool,
    word: impl Fn(S) -> &'static str,
) -> String {
    let wanted = all.iter().copied().filter(|&status| is_wanted(status));
    let quoted: Vec<_> = wanted.map(|status| format!("'{}'", word(status))).collect();
    quoted.join(", ")
}
