//! The moving edge of a run: counts of what is still awaited, so that a whole job costs O(steps + edges).

use super::dag::Dag;
use super::trigger_rule::{Decision, Settled, decide};
use crate::model::TriggerRule;

/// For each step, what its dependencies have become so far.
#[derive(Debug, Clone)]
pub struct Frontier {
    counts: Vec<Counts>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    awaited: u32,
    success: u32,
    failed: u32,
    skipped: u32,
}

impl Frontier {
    /// Nothing is settled yet.
    pub fn new(dag: &Dag) -> Self {
        let awaited = |step| Counts {
            awaited: dag.dependencies(step).len() as u32,
            ..Counts::default()
        };
        Self {
            counts: (0..dag.len() as u32).map(awaited).collect(),
        }
    }

    /// The steps that wait for nothing, by position.
    pub fn initial(&self, dag: &Dag) -> Vec<u32> {
        (0..dag.len() as u32)
            .filter(|step| dag.dependencies(*step).is_empty())
            .collect()
    }

    /// Settles a step. Dependants of which it was the last awaited are decided and added to `decided`. A step MUST be settled
    /// at most once.
    pub fn settle(
        &mut self,
        dag: &Dag,
        rule: impl Fn(u32) -> TriggerRule,
        step: u32,
        settled: Settled,
        decided: &mut Vec<(u32, Decision)>,
    ) {
        for &dependent in dag.dependents(step) {
            let counts = &mut self.counts[dependent as usize];
            match settled {
                Settled::Success => counts.success += 1,
                Settled::Failed => counts.failed += 1,
                Settled::Skipped => counts.skipped += 1,
            }
            counts.awaited -= 1;
            if counts.awaited == 0 {
                let decision = decide(
                    rule(dependent),
                    counts.success,
                    counts.failed,
                    counts.skipped,
                );
                decided.push((dependent, decision));
            }
        }
    }
}
