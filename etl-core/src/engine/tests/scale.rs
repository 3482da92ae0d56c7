//! Large graphs: what the machine asks for grows with steps and edges and with nothing else, and no depth ends the stack.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::world::*;
use crate::engine::{Effect, Input, JobMachine};
use crate::model::*;
use crate::plan::{Plan, validate};
use crate::registry::Registry;

const STEPS: usize = 20_000;

/// What driving a job took.
#[derive(Debug, Default)]
struct Tally {
    inputs: usize,
    starts: usize,
    changes: usize,
    most_at_once: usize,
    status: Option<JobStatus>,
}

/// Drives a job whose attempts all succeed, with 64 slots.
fn drive(pipeline: Pipeline) -> Tally {
    let registry = Registry::new().with(Noop);
    assert_eq!(validate(&pipeline, &registry), []);
    let plan = Arc::new(Plan::compile(Arc::new(pipeline), &registry).unwrap());
    let now = Timestamp::from_seconds(1_700_000_000);
    let job = snapshot(&plan, &BTreeMap::new(), &json!({}), now, None);
    let mut machine = JobMachine::open(plan, job, lease(1));
    let (mut tally, mut slots, mut running) = (Tally::default(), 0, 0);
    let mut inputs = VecDeque::from([Input::Opened]);
    while let Some(input) = inputs.pop_front() {
        tally.inputs += 1;
        if matches!(input, Input::Step { .. }) {
            running -= 1;
        }
        for effect in machine.handle(input, now) {
            match effect {
                Effect::Commit(commit) => {
                    tally.changes += commit.changes.len();
                    inputs.push_back(Input::Committed {
                        seq: commit.seq,
                        verdict: Verdict::Applied,
                    });
                }
                Effect::Start(task) => {
                    (tally.starts, running) = (tally.starts + 1, running + 1);
                    tally.most_at_once = tally.most_at_once.max(running);
                    let event = StepEvent::Result(Ok(Report::default().with_output(1)));
                    inputs.push_back(Input::Step {
                        key: task.key,
                        event,
                    });
                }
                Effect::Release(released) => slots -= released,
                Effect::Close(status) => tally.status = Some(status),
                Effect::Adopt(_) | Effect::Stop(_) | Effect::Wake(_) => {}
            }
        }
        let more = machine.wanted().min(64 - slots);
        if more > 0 {
            slots += more;
            inputs.push_back(Input::Slots(more));
        }
    }
    tally
}

fn assert_linear(tally: &Tally, steps: usize) {
    assert_eq!(
        (tally.status, tally.starts),
        (Some(JobStatus::Success), steps),
        "{tally:?}"
    );
    // Running and its end for each step, and the job's end.
    assert_eq!(tally.changes, 2 * steps + 1);
    // For each step at most: slots, the commit that it runs, its result.
    assert!(tally.inputs <= 4 * steps + 4, "{tally:?}");
}

fn reads(name: &str) -> Value {
    json!({ "x": format!("{{{{ steps.{name}.output }}}}") })
}

#[test]
fn a_long_chain_is_driven_step_by_step() {
    let steps = (0..STEPS).map(|at| match at.checked_sub(1) {
        None => step("s0", &[]),
        Some(before) => {
            let mut step = step(&format!("s{at}"), &[&format!("s{before}")]);
            // Each reads the first, which is as far away as can be.
            step.config = reads("s0");
            step
        }
    });
    let tally = drive(pipeline(steps.collect()));
    assert_linear(&tally, STEPS);
    assert_eq!(tally.most_at_once, 1);
}

#[test]
fn a_wide_fan_is_driven_within_its_slots() {
    let mut steps: Vec<Step> = (0..STEPS).map(|at| step(&format!("s{at}"), &[])).collect();
    let mut last = step("last", &[]);
    last.dependencies = steps.iter().map(|step| step.name.clone()).collect();
    last.config = json!({
        "all": (0..STEPS).map(|at| format!("{{{{ steps.s{at}.output }}}}")).collect::<Vec<_>>()
    });
    steps.push(last);
    let tally = drive(pipeline(steps));
    assert_linear(&tally, STEPS + 1);
    assert_eq!(tally.most_at_once, 64);
}

#[test]
fn a_random_graph_is_driven_to_its_end() {
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut steps: Vec<Step> = Vec::with_capacity(STEPS);
    for at in 0..STEPS {
        let mut on: Vec<usize> = (0..random(4).min(at)).map(|_| random(at)).collect();
        on.sort_unstable();
        on.dedup();
        let mut step = step(&format!("s{at}"), &[]);
        step.dependencies = on.iter().map(|on| format!("s{on}")).collect();
        if let Some(on) = on.last() {
            step.config = reads(&format!("s{on}"));
        }
        steps.push(step);
    }
    assert_linear(&drive(pipeline(steps)), STEPS);
}

#[test]
fn a_long_chain_that_is_skipped_is_skipped_in_one_commit() {
    let mut steps: Vec<Step> = (0..STEPS)
        .map(|at| match at.checked_sub(1) {
            None => step("s0", &[]),
            Some(before) => step(&format!("s{at}"), &[&format!("s{before}")]),
        })
        .collect();
    steps[0].when = Some(When::Literal(false));
    let tally = drive(pipeline(steps));
    assert_eq!((tally.status, tally.starts), (Some(JobStatus::Success), 0));
    assert_eq!((tally.changes, tally.inputs), (STEPS + 1, 2));
}
