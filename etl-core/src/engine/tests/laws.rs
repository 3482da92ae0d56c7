//! Random graphs, outcomes, orders, crashes and cancellations; the world checks each law, this checks the outcome.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::world::*;
use crate::graph::{Decision, Settled, decide};
use crate::model::*;

/// What a step comes to, whatever happens around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Succeeds,
    FailsOnceThenSucceeds,
    Fails,
    NotWanted,
}

#[derive(Debug, Clone)]
struct Plot {
    steps: Vec<(Vec<usize>, TriggerRule, Fate, Option<usize>)>,
    choices: Vec<usize>,
    crashes: Vec<usize>,
    hand_backs: Vec<usize>,
    cancel_at: Option<usize>,
    parallel: u32,
}

fn plots() -> impl Strategy<Value = Plot> {
    let rule = prop::sample::select(TriggerRule::ALL.to_vec());
    let fate = prop_oneof![
        5 => Just(Fate::Succeeds),
        2 => Just(Fate::FailsOnceThenSucceeds),
        2 => Just(Fate::Fails),
        1 => Just(Fate::NotWanted),
    ];
    let step = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        rule,
        fate,
        prop::option::weighted(0.2, 0usize..4),
    );
    let steps = prop::collection::vec(step, 1..14).prop_map(|steps| {
        let link = |(at, (on, rule, fate, items)): (usize, (Vec<prop::sample::Index>, _, _, _))| {
            let mut on: Vec<usize> = if at == 0 {
                Vec::new()
            } else {
                on.iter().map(|index| index.index(at)).collect()
            };
            on.sort_unstable();
            on.dedup();
            (on, rule, fate, items)
        };
        steps.into_iter().enumerate().map(link).collect::<Vec<_>>()
    });
    let choices = prop::collection::vec(any::<usize>(), 64);
    let crashes = prop::collection::vec(1usize..60, 0..3);
    let hand_backs = prop::collection::vec(1usize..60, 0..6);
    (
        steps,
        choices,
        crashes,
        hand_backs,
        prop::option::weighted(0.2, 1usize..60),
        1u32..6,
    )
        .prop_map(
            |(steps, choices, crashes, hand_backs, cancel_at, parallel)| Plot {
                steps,
                choices,
                crashes,
                hand_backs,
                cancel_at,
                parallel,
            },
        )
}

fn world_of(plot: &Plot) -> World {
    let mut steps = Vec::new();
    for (at, (on, rule, fate, items)) in plot.steps.iter().enumerate() {
        let mut step = step(&format!("s{at}"), &[]);
        step.dependencies = on.iter().map(|on| format!("s{on}")).collect();
        step.trigger_rule = *rule;
        step.retry_count = 1;
        step.when = (*fate == Fate::NotWanted).then_some(When::Literal(false));
        step.for_each = items.map(|items| ForEach::Items(vec![json!("item"); items]));
        steps.push(step);
    }
    let fates: Vec<Fate> = plot.steps.iter().map(|(_, _, fate, _)| *fate).collect();
    let script: Script = Box::new(move |task| match fates[task.key.step.step as usize] {
        Fate::Fails => Err(StepError::permanent("fated")),
        Fate::FailsOnceThenSucceeds if task.key.attempt == 1 => Err(StepError::transient("once")),
        _ => Ok(Report::rows(1)),
    });
    let mut pipeline = pipeline(steps);
    pipeline.max_parallel_steps = Some(plot.parallel);
    World::new(pipeline, json!({}), script)
}

/// What each step must have become, by looking at the graph in order.
fn expected(plot: &Plot) -> Vec<StepStatus> {
    let mut settled: Vec<Settled> = Vec::new();
    let mut statuses = Vec::new();
    for (on, rule, fate, items) in &plot.steps {
        let count = |what| on.iter().filter(|on| settled[**on] == what).count() as u32;
        let decision = decide(
            *rule,
            count(Settled::Success),
            count(Settled::Failed),
            count(Settled::Skipped),
        );
        let (status, as_settled) = match (decision, fate) {
            (Decision::Skip(SkipReason::UpstreamFailed), _) => {
                (StepStatus::Skipped, Settled::Failed)
            }
            (Decision::Skip(_), _) | (Decision::Run, Fate::NotWanted) => {
                (StepStatus::Skipped, Settled::Skipped)
            }
            (Decision::Run, Fate::Fails) if *items != Some(0) => {
                (StepStatus::Failed, Settled::Failed)
            }
            (Decision::Run, _) => (StepStatus::Success, Settled::Success),
        };
        settled.push(as_settled);
        statuses.push(status);
    }
    statuses
}

fn play(plot: &Plot) -> World {
    let mut world = world_of(plot);
    let mut succeeded = BTreeMap::new();
    for turn in 0.. {
        assert!(turn < 20_000, "the job does not come to an end");
        match world.closed {
            Some(JobStatus::Pending) => world.taken_up(),
            Some(_) => break,
            None => {}
        }
        if plot.hand_backs.contains(&turn) {
            world.hand_back();
            continue;
        }
        if plot.cancel_at == Some(turn) {
            world.cancel();
        }
        if plot.crashes.contains(&turn) {
            world.crash(turn % 2 == 0);
            continue;
        }
        // An hour passes only when there is nothing else to do: time-outs have a story of their own.
        let mut possible = world.possible();
        if possible.len() > 1 {
            possible.retain(|happening| *happening != Happening::Time);
        }
        assert!(
            !possible.is_empty(),
            "the job waits for nothing and has not ended"
        );
        world.happen(possible[plot.choices[turn % plot.choices.len()] % possible.len()]);
        for (key, row) in &world.rows {
            if row.status == StepStatus::Success {
                let attempt = succeeded.entry(*key).or_insert(row.attempt);
                assert_eq!(*attempt, row.attempt, "a step that succeeded ran again");
            }
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_job_ends_as_its_graph_and_its_steps_say(plot in plots()) {
        let world = play(&plot);
        prop_assert!(world.job.is_terminal());
        prop_assert!(world.rows.values().all(|row| row.status.is_terminal()));
        // Everything that failed for good has a letter, and nothing else; an attempt too many was never made.
        let plain = || world.rows.values().filter(|row| row.items.is_none());
        let failed = plain().filter(|row| matches!(row.status, StepStatus::Failed | StepStatus::Timeout));
        prop_assert_eq!(world.letters.len(), failed.count());
        prop_assert!(plain().all(|row| row.attempt <= row.lost + row.returned + 2));
        if plot.cancel_at.is_none() {
            let statuses: Vec<_> = (0..plot.steps.len() as u32).map(|at| world.rows[&StepKey::step(at)].status).collect();
            prop_assert_eq!(&statuses, &expected(&plot));
            let failed = statuses.contains(&StepStatus::Failed);
            prop_assert_eq!(world.job, if failed { JobStatus::Failed } else { JobStatus::Success });
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_effects(plot in plots()) {
        let (first, second) = (play(&plot), play(&plot));
        prop_assert_eq!(first.commits, second.commits);
        prop_assert_eq!(first.starts, second.starts);
    }
}
