//! Every trigger rule with everything that its dependencies can become.

use serde_json::json;

use super::world::*;
use crate::model::*;

/// What a dependency becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    Success,
    Failed,
    /// Its `when` is false.
    Skipped,
    /// Something before it failed.
    UpstreamFailed,
    /// Something before it was skipped by choice.
    UpstreamSkipped,
    /// One of its items failed.
    ItemFailed,
    /// It fanned out to nothing.
    NoItems,
}

use Becomes::{Failed, ItemFailed, NoItems, Skipped, Success, UpstreamFailed, UpstreamSkipped};

/// A step `dN` that becomes this, with what it needs before it.
fn dependency(at: usize, becomes: Becomes) -> Vec<Step> {
    let name = format!("d{at}");
    let before = format!("before_{at}");
    let mut own = step(&name, &[]);
    own.retry_count = 0;
    match becomes {
        Success => {}
        Failed => own.name = name.clone(),
        Skipped => own.when = Some(When::Literal(false)),
        UpstreamFailed | UpstreamSkipped => own.dependencies = vec![before.clone()],
        ItemFailed => own.for_each = Some(ForEach::Items(vec![json!(1), json!(2)])),
        NoItems => own.for_each = Some(ForEach::Items(Vec::new())),
    }
    own.config = json!({ "fails": matches!(becomes, Failed | ItemFailed) });
    let mut earlier = step(&before, &[]);
    earlier.retry_count = 0;
    earlier.config = json!({ "fails": becomes == UpstreamFailed });
    earlier.when = (becomes == UpstreamSkipped).then_some(When::Literal(false));
    match becomes {
        UpstreamFailed | UpstreamSkipped => vec![earlier, own],
        _ => vec![own],
    }
}

/// What the step after them becomes, and why.
type Outcome = (StepStatus, Option<SkipReason>);

fn outcome(rule: TriggerRule, dependencies: &[Becomes]) -> Outcome {
    let mut steps: Vec<Step> = Vec::new();
    let mut last = step("last", &[]);
    last.trigger_rule = rule;
    for (at, becomes) in dependencies.iter().enumerate() {
        steps.extend(dependency(at, *becomes));
        last.dependencies.push(format!("d{at}"));
    }
    steps.push(last);
    let script: Script = Box::new(|task| {
        // Of a fan-out only the last item fails.
        if task.config["fails"] == json!(true) && task.key.step.item != Some(0) {
            Err(StepError::permanent("as told"))
        } else {
            Ok(Report::default())
        }
    });
    let mut world = World::new(pipeline(steps), json!({}), script);
    world.run();
    let row = world.row("last");
    (row.status, row.skip_reason)
}

#[test]
fn a_step_runs_exactly_when_its_rule_says() {
    use SkipReason::{
        TriggerRule as Rule, UpstreamFailed as ForFailure, UpstreamSkipped as ForChoice,
    };
    use TriggerRule::{AllDone, AllSuccess, NoneFailed, OneFailed, OneSuccess};
    let runs = (StepStatus::Success, None);
    let skipped = |reason| (StepStatus::Skipped, Some(reason));
    let rules = [AllSuccess, AllDone, OneSuccess, OneFailed, NoneFailed];
    let table: &[(&[Becomes], [Outcome; 5])] = &[
        (&[], [runs, runs, runs, runs, runs]),
        (&[Success], [runs, runs, runs, skipped(Rule), runs]),
        (&[NoItems], [runs, runs, runs, skipped(Rule), runs]),
        (
            &[Failed],
            [
                skipped(ForFailure),
                runs,
                skipped(ForFailure),
                runs,
                skipped(ForFailure),
            ],
        ),
        (
            &[ItemFailed],
            [
                skipped(ForFailure),
                runs,
                skipped(ForFailure),
                runs,
                skipped(ForFailure),
            ],
        ),
        (
            &[UpstreamFailed],
            [
                skipped(ForFailure),
                runs,
                skipped(ForFailure),
                runs,
                skipped(ForFailure),
            ],
        ),
        (
            &[Skipped],
            [
                skipped(ForChoice),
                runs,
                skipped(ForChoice),
                skipped(Rule),
                runs,
            ],
        ),
        (
            &[UpstreamSkipped],
            [
                skipped(ForChoice),
                runs,
                skipped(ForChoice),
                skipped(Rule),
                runs,
            ],
        ),
        (
            &[Success, Failed],
            [skipped(ForFailure), runs, runs, runs, skipped(ForFailure)],
        ),
        (
            &[Success, Skipped],
            [skipped(ForChoice), runs, runs, skipped(Rule), runs],
        ),
        (
            &[Failed, Skipped],
            [
                skipped(ForFailure),
                runs,
                skipped(ForFailure),
                runs,
                skipped(ForFailure),
            ],
        ),
        (
            &[Success, UpstreamFailed, Skipped],
            [skipped(ForFailure), runs, runs, runs, skipped(ForFailure)],
        ),
    ];
    for (dependencies, expected) in table {
        for (rule, expected) in rules.into_iter().zip(expected) {
            assert_eq!(
                outcome(rule, dependencies),
                *expected,
                "{rule} after {dependencies:?}"
            );
        }
    }
}
