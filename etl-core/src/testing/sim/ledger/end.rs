//! The laws of what comes in the end: every job ends, and the store has what was committed.

use std::time::Duration;

use super::{Law, Ledger, law};
use crate::contract::store::Journal;
use crate::contract::store::Result as StoreResult;
use crate::memory::MemoryStore;
use crate::model::{JobId, JobStatus, PageRequest, StepKey, Timestamp};
use crate::testing::sim::trace::number;

/// How long after its end a lease may be nobody's, when nothing goes wrong any more. A sweep each 2 s, and one lease of
/// silence after the store was away.
const UNSWEPT: Duration = Duration::from_secs(40);
/// How long a job may take to end once that was asked for: a heartbeat, the time to stop, and if its owner is dead the end of
/// its lease.
const UNENDED: Duration = Duration::from_secs(80);

impl Ledger {
    /// Whether all jobs have ended, and all that was to follow from them has begun.
    pub(in crate::testing::sim) fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.jobs.values().all(|job| job.status.is_terminal())
    }

    /// The hooks that nobody has carried out.
    pub(in crate::testing::sim) fn waiting(&self) -> Vec<(u64, u32)> {
        let waiting = self.waiting.iter();
        waiting
            .map(|(job, position)| (number(*job), *position))
            .collect()
    }

    /// What must not last, since nothing goes wrong since `healthy_since`.
    pub(in crate::testing::sim) fn goes_on(&self, healthy_since: Timestamp, now: Timestamp) -> Law {
        for (id, job) in &self.jobs {
            let n = number(*id);
            let unswept = job.lease_end.map(|end| now.since(end.max(healthy_since)));
            law!(
                job.status != JobStatus::Running || unswept.is_some_and(|since| since < UNSWEPT),
                "L-1: job {n} runs under a lease that ran out {unswept:?} ago"
            );
            let asked = job.cancel_asked.map(|at| now.since(at.max(healthy_since)));
            law!(
                job.status.is_terminal() || asked.is_none_or(|since| since < UNENDED),
                "L-3: job {n} is {} and its end was asked for {asked:?} ago",
                job.status
            );
        }
        Ok(())
    }

    /// Which jobs have not ended, for who waited for them.
    pub(in crate::testing::sim) fn open(&self) -> Vec<(u64, JobStatus)> {
        let open = self
            .jobs
            .iter()
            .filter(|(_, job)| !job.status.is_terminal());
        open.map(|(id, job)| (number(*id), job.status)).collect()
    }

    /// Every accepted job, in order.
    pub(in crate::testing::sim) fn ids(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    /// Compares what the store has of a job with what was committed.
    pub(in crate::testing::sim) async fn compare(&self, store: &MemoryStore, id: JobId) -> Law {
        let n = number(id);
        let job = self.job(id)?;
        let record = read(store.job(id).await)?;
        let record = record.ok_or_else(|| format!("I-1: job {n} is gone"))?;
        law!(
            record.status == job.status && record.fence.0 == job.fence,
            "I-3: job {n} is {} under fence {} in the store; it ended as {} under fence {}",
            record.status,
            record.fence.0,
            job.status,
            job.fence
        );
        law!(
            record.completed_at.is_some() && record.lease_expires_at.is_none(),
            "I-8: job {n} has ended and still has a lease, or no time of its end"
        );
        let page = PageRequest {
            limit: 500,
            ..PageRequest::default()
        };
        let steps = read(store.steps(id, &page).await)?.items;
        law!(
            steps.len() == job.rows.len(),
            "I-3: job {n} has {} steps in the store and {} were made",
            steps.len(),
            job.rows.len()
        );
        for step in steps {
            let key = StepKey {
                step: step.order_index,
                item: step.item_index,
            };
            let row = job.row(key)?;
            law!(
                (step.status, step.attempt, step.lost, step.skip_reason)
                    == (row.status, row.attempt, row.lost, row.skip_reason)
                    && step.output_data == row.output,
                "I-3: job {n} step {key} is {} (attempt {}) in the store; what was committed is {} (attempt {})",
                step.status,
                step.attempt,
                row.status,
                row.attempt
            );
            law!(
                step.completed_at.is_some(),
                "I-8: job {n} step {key} has no time of its end"
            );
        }
        let letters = read(store.dead_letters(id).await)?;
        let keys: Vec<StepKey> = letters.iter().map(|letter| letter.key).collect();
        law!(
            keys.iter().eq(&job.letters),
            "I-8: job {n} has dead letters for {keys:?}; {:?} were written",
            job.letters
        );
        let hooks = read(store.hooks(id).await)?;
        law!(
            hooks.iter().map(|hook| &hook.position).eq(&job.hooks),
            "I-8: job {n} has {} hooks; {} were written",
            hooks.len(),
            job.hooks.len()
        );
        job.letters_fit()
            .map_err(|broken| format!("{broken} (job {n})"))
    }
}

fn read<T>(answer: StoreResult<T>) -> Result<T, String> {
    answer.map_err(|error| format!("I-1: the store can't be read: {error}"))
}
