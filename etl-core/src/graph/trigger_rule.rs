//! Whether a step runs, once all its dependencies are settled.

use crate::model::{SkipReason, TriggerRule};

/// What a settled step is to its dependants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// It succeeded.
    Success,
    /// It failed, was stopped, or never ran because something before it failed.
    Failed,
    /// It was skipped by choice.
    Skipped,
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It may run.
    Run,
    /// It never runs.
    Skip(SkipReason),
}

/// Applies a rule to the counts of settled dependencies.
pub fn decide(rule: TriggerRule, success: u32, failed: u32, skipped: u32) -> Decision {
    let upstream = if failed > 0 {
        SkipReason::UpstreamFailed
    } else {
        SkipReason::UpstreamSkipped
    };
    let run_if = |runs, otherwise| {
        if runs {
            Decision::Run
        } else {
            Decision::Skip(otherwise)
        }
    };
    // A step without dependencies runs under every rule.
    if success + failed + skipped == 0 {
        return Decision::Run;
    }
    match rule {
        TriggerRule::AllSuccess => run_if(failed == 0 && skipped == 0, upstream),
        TriggerRule::AllDone => Decision::Run,
        TriggerRule::OneSuccess => run_if(success > 0, upstream),
        TriggerRule::OneFailed => run_if(failed > 0, SkipReason::TriggerRule),
        TriggerRule::NoneFailed => run_if(failed == 0, SkipReason::UpstreamFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_runs_exactly_when_it_says() {
        use SkipReason::{
            TriggerRule as Rule, UpstreamFailed as Failed, UpstreamSkipped as Skipped,
        };
        use TriggerRule::{AllDone, AllSuccess, NoneFailed, OneFailed, OneSuccess};
        let skip = Decision::Skip;
        for (rule, counts, expected) in [
            (AllSuccess, (2, 0, 0), Decision::Run),
            (AllSuccess, (1, 1, 0), skip(Failed)),
            (AllSuccess, (1, 0, 1), skip(Skipped)),
            (AllSuccess, (0, 1, 1), skip(Failed)),
            (AllDone, (0, 1, 1), Decision::Run),
            (OneSuccess, (1, 1, 1), Decision::Run),
            (OneSuccess, (0, 1, 1), skip(Failed)),
            (OneSuccess, (0, 0, 2), skip(Skipped)),
            (OneFailed, (1, 1, 0), Decision::Run),
            (OneFailed, (2, 0, 1), skip(Rule)),
            (NoneFailed, (1, 0, 1), Decision::Run),
            (NoneFailed, (0, 0, 2), Decision::Run),
            (NoneFailed, (1, 1, 0), skip(Failed)),
            (OneFailed, (0, 0, 0), Decision::Run),
        ] {
            assert_eq!(
                decide(rule, counts.0, counts.1, counts.2),
                expected,
                "{rule} {counts:?}"
            );
        }
    }
}
