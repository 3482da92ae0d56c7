//! What an observer is told of one job. It is made when a commit is decided and told when the commit is true.

use std::collections::HashMap;
use std::sync::Arc;

use crate::contract::{Observation, Observer};
use crate::model::{
    Change, Commit, JobSnapshot, PipelineRef, StepKey, StepStatus, Timestamp, TriggerType, Verdict,
};
use crate::plan::Plan;

/// What one job tells its observer, under one lease.
#[derive(Debug)]
pub(crate) struct Observed {
    observer: Arc<dyn Observer>,
    pipeline: PipelineRef,
    trigger: TriggerType,
    started_at: Timestamp,
    /// When the executions under way had their first attempt.
    begun: HashMap<StepKey, Timestamp>,
    /// What is true with the commit under way.
    decided: Vec<Observation>,
    is_lost: bool,
}

impl Observed {
    pub(crate) fn new(observer: Arc<dyn Observer>, job: &JobSnapshot) -> Self {
        Self {
            observer,
            pipeline: job.pipeline.clone(),
            trigger: job.trigger_type,
            started_at: job.started_at,
            begun: HashMap::new(),
            decided: Vec::new(),
            is_lost: false,
        }
    }

    /// A commit goes to the store.
    pub(crate) fn decided(&mut self, plan: &Plan, commit: &Commit) {
        self.decided.clear();
        for change in &commit.changes {
            match change {
                Change::Job { to, .. } if to.is_terminal() => {
                    self.decided.push(Observation::JobEnded {
                        pipeline: self.pipeline.clone(),
                        status: *to,
                        trigger: self.trigger,
                        took: Some(commit.at.since(self.started_at)),
                    });
                }
                Change::Step { key, to, patch, .. } => {
                    let connector = || Arc::clone(&plan.step(key.step).connector_type);
                    if to.is_terminal() {
                        let begun = self.begun.remove(key);
                        // Its row has the sums of its items, which are told one by one.
                        let is_sum = key.item.is_none() && plan.step(key.step).for_each.is_some();
                        let own = |count: Option<u64>| count.filter(|_| !is_sum).unwrap_or(0);
                        self.decided.push(Observation::StepEnded {
                            connector: connector(),
                            status: *to,
                            took: begun.map(|begun| commit.at.since(begun)),
                            rows: own(patch.rows_processed),
                            bytes: own(patch.bytes_transferred),
                        });
                    } else if *to == StepStatus::Running {
                        // Only of a first attempt is it known here that there was none before.
                        if is_first(change) {
                            self.begun.insert(*key, commit.at);
                        }
                    } else if *to == StepStatus::Retrying && patch.returned.is_none() {
                        self.decided.push(Observation::StepRetried {
                            connector: connector(),
                        });
                    }
                }
                Change::Expand { step, .. } => {
                    self.begun.insert(StepKey::step(*step), commit.at);
                }
                Change::Bury(_) => self.decided.push(Observation::Buried),
                Change::Job { .. } | Change::Checkpoint { .. } | Change::Hook(_) => {}
            }
        }
    }

    /// The store has answered.
    pub(crate) fn answered(&mut self, verdict: Verdict) {
        let decided = std::mem::take(&mut self.decided);
        if matches!(verdict, Verdict::Applied | Verdict::AlreadyApplied) {
            for observation in &decided {
                self.observer.observe(observation);
            }
        } else {
            self.lost();
        }
    }

    /// The lease is gone. However often it is heard of, it is told once.
    pub(crate) fn lost(&mut self) {
        if !std::mem::replace(&mut self.is_lost, true) {
            self.observer.observe(&Observation::LeaseLost);
        }
    }
}

fn is_first(change: &Change) -> bool {
    matches!(change, Change::Step { attempt: 1, .. })
}
