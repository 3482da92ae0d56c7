//! A worker that is told to stop gives its jobs to others.

use serde_json::json;

use super::world::*;
use crate::model::*;

/// Lets things happen in order until the job is in nobody's hands.
fn until_given_back(world: &mut World) {
    while world.closed.is_none() {
        world.happen(world.possible()[0]);
    }
}

#[test]
fn attempts_that_are_given_back_count_neither_as_failed_nor_as_lost() {
    let mut flaky = step("a", &[]);
    flaky.retry_count = 1;
    let mut world = World::new(
        pipeline(vec![flaky]),
        json!({}),
        fails(11, ErrorClass::Transient),
    );
    for _ in 0..10 {
        while world.running.is_empty() {
            world.happen(world.possible()[0]);
        }
        world.hand_back();
        until_given_back(&mut world);
        world.taken_up();
    }
    // Ten given back, one failed, one more allowed: the twelfth succeeds.
    assert_eq!(world.run(), JobStatus::Success);
    let row = world.row("a");
    assert_eq!((row.attempt, row.lost, row.returned), (12, 0, 10));
}

#[test]
fn what_ends_while_its_job_is_given_back_is_kept_and_what_outlives_its_worker_runs_on() {
    let mut outside = step("outside", &[]);
    outside.executor = ExecutorKind::Docker;
    let mut world = World::new(
        pipeline(vec![step("inside", &[]), outside]),
        json!({}),
        echoes(),
    )
    .with_capacity(2);
    while world.running.len() < 2 {
        world.happen(world.possible()[0]);
    }
    world.hand_back();
    world.running.retain(|key, _| key.step != StepKey::step(0));
    let inside = world.key("inside");
    world.say(inside, StepEvent::Result(Ok(Report::rows(5))));
    until_given_back(&mut world);
    assert_eq!(world.status("inside"), StepStatus::Success);
    assert_eq!(world.status("outside"), StepStatus::Running);
    world.taken_up();
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!(world.row("outside").attempt, 1);
}

#[test]
fn what_must_not_happen_twice_is_not_started_again_after_it_was_given_back() {
    let mut once = step("once", &[]);
    once.config = json!({ "once": true });
    let mut world = World::new(pipeline(vec![once, step("b", &[])]), json!({}), echoes());
    while world.running.len() < 2 {
        world.happen(world.possible()[0]);
    }
    world.hand_back();
    until_given_back(&mut world);
    world.taken_up();
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(world.row("once").attempt, 1);
    assert_eq!(world.status("b"), StepStatus::Success);
    assert!(world.letters[0].error.contains("must not happen twice"));
}

#[test]
fn what_was_remembered_and_never_started_starts_elsewhere_whatever_its_effect() {
    let mut once = step("once", &[]);
    once.config = json!({ "once": true });
    let mut world = World::new(pipeline(vec![once]), json!({}), echoes());
    // Up to the commit that makes it `running`, which is under way.
    world.happen(Happening::Slot);
    assert_eq!(world.possible()[0], Happening::Committed);
    assert!(world.running.is_empty());
    world.hand_back();
    until_given_back(&mut world);
    assert_eq!(world.starts, []);
    world.taken_up();
    assert_eq!(world.run(), JobStatus::Success);
    let row = world.row("once");
    assert_eq!((row.attempt, row.lost, row.returned), (2, 0, 1));
    assert_eq!(world.letters, []);
}

#[test]
fn a_time_out_in_the_midst_of_giving_back_is_retried_elsewhere() {
    let mut slow = step("slow", &[]);
    slow.retry_count = 1;
    let mut world = World::new(pipeline(vec![slow]), json!({}), echoes());
    while world.running.is_empty() {
        world.happen(world.possible()[0]);
    }
    world.happen(Happening::Time);
    world.hand_back();
    until_given_back(&mut world);
    assert_eq!(world.status("slow"), StepStatus::Retrying);
    world.taken_up();
    assert_eq!(world.run(), JobStatus::Success);
    let row = world.row("slow");
    assert_eq!((row.attempt, row.returned), (2, 0));
}

#[test]
fn a_job_whose_end_is_asked_for_while_it_is_given_back_ends_here() {
    let mut outside = step("outside", &[]);
    outside.executor = ExecutorKind::Docker;
    let steps = vec![step("inside", &[]), outside, step("rest", &["inside"])];
    let mut world = World::new(pipeline(steps), json!({}), echoes()).with_capacity(2);
    while world.running.len() < 2 {
        world.happen(world.possible()[0]);
    }
    world.hand_back();
    let is_told = |world: &World, name: &str| {
        let of = world.key(name);
        let told = world.running.iter().find(|(key, _)| key.step == of);
        told.unwrap().1.1
    };
    assert!(is_told(&world, "inside") && !is_told(&world, "outside"));
    world.cancel();
    // Nobody would find what runs on outside of an ended job.
    assert!(is_told(&world, "outside"));
    until_given_back(&mut world);
    assert_eq!(world.closed, Some(JobStatus::Cancelled));
    assert_eq!(world.job, JobStatus::Cancelled);
    assert_eq!(world.status("inside"), StepStatus::Cancelled);
    assert_eq!(world.status("outside"), StepStatus::Cancelled);
    assert_eq!(world.status("rest"), StepStatus::Skipped);
}
