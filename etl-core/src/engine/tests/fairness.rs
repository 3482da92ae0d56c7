//! Slots that other jobs wait for, and effects that must not happen twice.

use serde_json::json;

use super::world::{Happening, World, echoes, pipeline, step};
use crate::engine::{Effect, Input};
use crate::model::{JobStatus, Report, StepError, StepEvent, StepStatus};

fn wide(steps: usize) -> World {
    let steps = (0..steps).map(|n| step(&format!("s{n}"), &[])).collect();
    World::new(pipeline(steps), json!({}), echoes()).with_capacity(2)
}

fn until_running(world: &mut World, count: usize) {
    while world.running.len() < count {
        world.happen(world.possible()[0]);
    }
}

#[test]
fn a_wide_job_gives_way_when_others_wait() {
    let mut world = wide(5);
    until_running(&mut world, 2);
    let effects = world.machine.handle(Input::Yield, world.now);
    assert!(effects.is_empty(), "nothing is free yet: {effects:?}");
    let first = *world.running.keys().next().unwrap();
    world.running.remove(&first);
    let ended = Input::Step {
        key: first,
        event: StepEvent::Result(Ok(Report::default())),
    };
    let effects = world.machine.handle(ended, world.now);
    assert!(effects.contains(&Effect::Release(1)), "{effects:?}");
    assert_eq!(world.machine.wanted(), 3, "it stands in line again");
}

#[test]
fn what_must_not_happen_twice_is_not_repeated_after_a_timeout() {
    let mut once = step("a", &[]);
    once.config = json!({ "once": true });
    once.retry_count = 3;
    once.timeout_seconds = 5;
    let mut world = World::new(pipeline(vec![once]), json!({}), echoes());
    until_running(&mut world, 1);
    world.happen(Happening::Time);
    assert_eq!(world.run(), JobStatus::Failed);
    let row = world.row("a");
    assert_eq!((row.status, row.attempt), (StepStatus::Timeout, 1));
}

#[test]
fn what_must_not_happen_twice_is_repeated_when_it_says_that_it_failed() {
    let mut once = step("a", &[]);
    once.config = json!({ "once": true });
    once.retry_count = 2;
    let refuses = Box::new(|_: &_| Err(StepError::transient("refused")));
    let mut world = World::new(pipeline(vec![once]), json!({}), refuses);
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(world.row("a").attempt, 3);
}
