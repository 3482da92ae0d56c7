//! What must be true, kept beside the product: a ledger of all jobs, written from what the store is asked and what it answers,
//! and a law for each answer. The numbers are those of `docs/simulation.md`.

mod commit;
mod end;
mod lease;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::trace::number;
use crate::contract::store::Submitted;
use crate::model::{
    JobId, JobStatus, Pipeline, SkipReason, StepKey, StepStatus, StepTask, Timestamp, TriggerRule,
    WorkerId,
};

/// Nothing, or the law that was broken and by what.
pub(super) type Law = Result<(), String>;

/// Says which law does not hold.
macro_rules! law {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}
use law;

/// All jobs as they have to be.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    jobs: BTreeMap<JobId, Job>,
    /// Hooks that start a job and were not settled.
    waiting: BTreeSet<(JobId, u32)>,
}

#[derive(Debug)]
struct Job {
    document: Arc<Pipeline>,
    /// By position.
    dependencies: Vec<Vec<u32>>,
    /// Of each step, the one whose output its configuration names.
    reads: Vec<Option<u32>>,
    status: JobStatus,
    fence: u64,
    /// The last commit under `fence`.
    seq: u64,
    owner: Option<WorkerId>,
    lease_end: Option<Timestamp>,
    cancel_asked: Option<Timestamp>,
    waiting_since: Timestamp,
    rows: BTreeMap<StepKey, Row>,
    letters: BTreeSet<StepKey>,
    hooks: BTreeSet<u32>,
}

/// A step execution.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    status: StepStatus,
    attempt: u32,
    /// The fence under which that attempt was started.
    fence: u64,
    lost: u32,
    returned: u32,
    due: Option<Timestamp>,
    checkpoint: Option<(u64, Value)>,
    skip_reason: Option<SkipReason>,
    items: Option<u32>,
    output: Value,
    rows_processed: u64,
}

impl Row {
    fn pending() -> Self {
        Self {
            status: StepStatus::Pending,
            attempt: 0,
            fence: 0,
            lost: 0,
            returned: 0,
            due: None,
            checkpoint: None,
            skip_reason: None,
            items: None,
            output: Value::Null,
            rows_processed: 0,
        }
    }

    fn enters(&mut self, to: StepStatus) {
        self.status = to;
        self.due = None;
        if to.is_terminal() {
            self.checkpoint = None;
        }
    }
}

impl Ledger {
    /// A trigger was answered: it makes one job, however often it is sent.
    pub(super) fn submitted(
        &mut self,
        asked: JobId,
        document: &Arc<Pipeline>,
        answer: Submitted,
        now: Timestamp,
    ) -> Law {
        match answer {
            Submitted::New(job) => {
                let twin = self
                    .jobs
                    .keys()
                    .find(|known| number(**known) == number(asked));
                law!(
                    twin.is_none(),
                    "I-2: trigger {} made a second job",
                    number(asked)
                );
                law!(
                    job == asked,
                    "I-2: the job has another id than it was given"
                );
                self.jobs.insert(job, Job::new(document, now));
            }
            Submitted::Existing(job) => {
                law!(self.jobs.contains_key(&job), "I-1: an accepted job is gone");
            }
            Submitted::KeyTaken(job) => {
                return Err(format!(
                    "I-2: the same trigger was taken for another than job {}",
                    number(job)
                ));
            }
        }
        Ok(())
    }

    /// An attempt is started under a lease. `may_be_late` says that its process has just come back from a freeze: it may
    /// not know yet that it lost its jobs.
    pub(super) fn starts(&self, task: &StepTask, may_be_late: bool) -> Law {
        let (id, key) = (number(task.key.job), task.key.step);
        let job = self.job(task.key.job)?;
        if job.fence != task.fence.0 || job.status != JobStatus::Running {
            law!(
                may_be_late,
                "I-9: job {id} step {key} starts under fence {}, but the job is {} under fence {}",
                task.fence.0,
                job.status,
                job.fence
            );
            return Ok(());
        }
        let row = job.row(key)?;
        law!(
            row.status == StepStatus::Running && row.attempt == task.key.attempt,
            "I-4: job {id} step {key} attempt {} starts, remembered is attempt {} as {}",
            task.key.attempt,
            row.attempt,
            row.status
        );
        let read = job.reads.get(key.step as usize).copied().flatten();
        if let (Some(read), Some(from)) = (read, task.config.get("from")) {
            let output = &job.row(StepKey::step(read))?.output;
            law!(
                from == output,
                "I-5: job {id} step {key} reads {from} of step {read}, whose outcome is {output}"
            );
        }
        // Checkpoints of simulated attempts are numbers that grow. One that waits for its commit may be newer than what is
        // remembered, never older.
        let given = task.checkpoint.as_ref().and_then(Value::as_u64);
        let kept = row
            .checkpoint
            .as_ref()
            .and_then(|(_, state)| state.as_u64());
        law!(
            given >= kept,
            "I-14: job {id} step {key} goes on from checkpoint {given:?}, remembered is {kept:?}"
        );
        Ok(())
    }

    /// Where a job is, if there is one.
    pub(super) fn status(&self, job: JobId) -> Option<JobStatus> {
        self.jobs.get(&job).map(|job| job.status)
    }

    fn job(&self, job: JobId) -> Result<&Job, String> {
        let known = self.jobs.get(&job);
        known.ok_or_else(|| format!("I-1: job {} was never accepted", number(job)))
    }

    fn job_mut(&mut self, job: JobId) -> Result<&mut Job, String> {
        let known = self.jobs.get_mut(&job);
        known.ok_or_else(|| format!("I-1: job {} was never accepted", number(job)))
    }
}

impl Job {
    fn new(document: &Arc<Pipeline>, now: Timestamp) -> Self {
        let steps = &document.steps;
        let position = |name: &str| steps.iter().position(|step| step.name == *name);
        let dependencies = steps.iter().map(|step| {
            let on = step.dependencies.iter();
            on.filter_map(|name| position(name).map(|at| at as u32))
                .collect()
        });
        let reads = steps.iter().map(|step| {
            let text = step.config.get("from")?.as_str()?;
            let name = text.split('.').nth(1)?;
            position(name).map(|at| at as u32)
        });
        Self {
            dependencies: dependencies.collect(),
            reads: reads.collect(),
            rows: (0..steps.len() as u32)
                .map(|at| (StepKey::step(at), Row::pending()))
                .collect(),
            document: Arc::clone(document),
            status: JobStatus::Pending,
            fence: 0,
            seq: 0,
            owner: None,
            lease_end: None,
            cancel_asked: None,
            waiting_since: now,
            letters: BTreeSet::new(),
            hooks: BTreeSet::new(),
        }
    }

    fn row(&self, key: StepKey) -> Result<&Row, String> {
        self.rows
            .get(&key)
            .ok_or_else(|| format!("I-3: there is no step {key}"))
    }

    fn row_mut(&mut self, key: StepKey) -> Result<&mut Row, String> {
        self.rows
            .get_mut(&key)
            .ok_or_else(|| format!("I-3: there is no step {key}"))
    }

    /// Ends every open step together with the job, as the canceller and the reaper do.
    fn end_open_rows(&mut self) {
        for row in self.rows.values_mut() {
            match row.status {
                StepStatus::Pending => {
                    row.enters(StepStatus::Skipped);
                    row.skip_reason = Some(SkipReason::JobEnded);
                }
                StepStatus::Running | StepStatus::Retrying => row.enters(StepStatus::Cancelled),
                _ => {}
            }
        }
    }

    /// Whether the dependencies of a step are settled, and whether its rule lets it run then.
    fn admits(&self, step: u32) -> Option<bool> {
        let (mut good, mut bad, mut left_out) = (0, 0, 0);
        for on in &self.dependencies[step as usize] {
            let row = self.rows.get(&StepKey::step(*on))?;
            match (row.status, row.skip_reason) {
                (StepStatus::Success, _) => good += 1,
                (StepStatus::Skipped, Some(SkipReason::UpstreamFailed))
                | (StepStatus::Failed | StepStatus::Timeout | StepStatus::Cancelled, _) => bad += 1,
                (StepStatus::Skipped, _) => left_out += 1,
                _ => return None,
            }
        }
        if self.dependencies[step as usize].is_empty() {
            return Some(true);
        }
        Some(match self.document.steps[step as usize].trigger_rule {
            TriggerRule::AllSuccess => bad + left_out == 0,
            TriggerRule::AllDone => true,
            TriggerRule::OneSuccess => good > 0,
            TriggerRule::OneFailed => bad > 0,
            TriggerRule::NoneFailed => bad == 0,
        })
    }
}
