//! Which rows commits are about, and what becomes of each commit.

use std::collections::{HashMap, HashSet};

use etl_core::model::{Change, Commit, JobId, StepKey, Timestamp, Verdict};

use crate::fault::Fault;
use crate::plan::Plan;
use crate::rows::item_column;
use crate::writer::Answers;

/// What has to be read before commits can be decided.
#[derive(Debug, Default)]
pub struct Touched {
    /// The jobs.
    pub jobs: HashSet<JobId>,
    /// The step executions: job, `order_index`, `item_index`.
    pub keys: Vec<(JobId, u32, i64)>,
    /// The jobs that leave letters or hooks.
    pub leaving: HashSet<JobId>,
}

impl Touched {
    /// What these commits are about.
    pub fn by(batches: &[&Vec<Commit>]) -> Self {
        let mut touched = Self::default();
        for commit in batches.iter().copied().flatten() {
            let job = commit.lease.job;
            touched.jobs.insert(job);
            for change in &commit.changes {
                let key = match change {
                    Change::Job { .. } => continue,
                    Change::Hook(_) => {
                        touched.leaving.insert(job);
                        continue;
                    }
                    Change::Bury(letter) => {
                        touched.leaving.insert(job);
                        letter.key
                    }
                    Change::Step { key, .. } | Change::Checkpoint { key, .. } => *key,
                    Change::Expand { step, .. } => StepKey::step(*step),
                };
                touched.keys.push((job, key.step, item_column(key)));
            }
        }
        touched
    }
}

/// What the commits come to, from how the rows stand `before`: what is to be written, and the answer to each batch.
pub fn decide(
    before: &Plan,
    batches: &[&Vec<Commit>],
    now: Timestamp,
) -> (Plan, Answers<Vec<Verdict>>) {
    let mut refused: HashMap<usize, Fault> = HashMap::new();
    loop {
        let mut plan = before.clone();
        let mut answers = Vec::with_capacity(batches.len());
        let mut stands = true;
        for (position, batch) in batches.iter().enumerate() {
            answers.push(match refused.get(&position) {
                Some(fault) => Err(fault.clone()),
                None => plan.add_batch(batch, now),
            });
            if let Some(Err(fault)) = answers.last()
                && !refused.contains_key(&position)
            {
                // What this batch did to the plan is not undone but planned anew without it.
                refused.insert(position, fault.clone());
                stands = false;
                break;
            }
        }
        if stands {
            return (plan, answers);
        }
    }
}
