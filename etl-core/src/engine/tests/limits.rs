//! Retries, fan-outs, ends and hooks where they are at an edge.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::*;
use crate::model::*;

fn until_running(world: &mut World, count: usize) {
    while world.running.len() < count {
        world.happen(world.possible()[0]);
    }
}

fn over(items: usize) -> Step {
    let mut each = step("each", &[]);
    each.for_each = Some(ForEach::Template(format!("{{{{ range({items}) }}}}")));
    each.config = json!({ "value": "{{ item }}" });
    each
}

fn all_outputs() -> Step {
    let mut gather = step("gather", &["each"]);
    gather.config =
        json!({ "all": "{{ steps.each.output }}", "status": "{{ steps.each.status }}" });
    gather
}

#[test]
fn any_number_of_items_runs_and_their_outputs_stay_in_order() {
    for items in [0, 1, 10_000] {
        let mut world = World::new(
            pipeline(vec![over(items), all_outputs()]),
            json!({}),
            echoes(),
        )
        .with_capacity(64);
        assert_eq!(
            world.run(),
            JobStatus::Success,
            "{items}: {:?}",
            world.job_error
        );
        let expected: Vec<Value> = (0..items).map(|item| json!({ "value": item })).collect();
        assert_eq!(world.row("gather").output["all"], json!(expected));
        assert_eq!(world.starts.len(), items + 1);
    }
}

#[test]
fn a_list_over_the_limit_fails_its_step() {
    let mut each = step("each", &[]);
    each.for_each = Some(ForEach::Template(
        "{{ range(60000)|list + range(60000)|list }}".into(),
    ));
    let mut world = World::new(pipeline(vec![each]), json!({}), echoes());
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(
        world.job_error.as_deref(),
        Some("step \"each\" failed: `for_each` gave 120000 items; at most 100000 are allowed")
    );
}

#[test]
fn items_are_retried_each_for_itself() {
    let mut each = over(3);
    each.retry_count = 1;
    let script: Script = Box::new(|task| match (task.key.step.item, task.key.attempt) {
        (Some(1), 1) => Err(StepError::transient("once")),
        _ => Ok(Report::rows(1).with_output((*task.config).clone())),
    });
    let mut world = World::new(pipeline(vec![each, all_outputs()]), json!({}), script);
    assert_eq!(world.run(), JobStatus::Success);
    let attempts: Vec<u32> = (0..3)
        .map(|item| world.rows[&StepKey::item(0, item)].attempt)
        .collect();
    assert_eq!(attempts, [1, 2, 1]);
    assert_eq!(
        world.row("gather").output["all"],
        json!([{ "value": 0 }, { "value": 1 }, { "value": 2 }])
    );
}

#[test]
fn a_step_that_runs_after_a_failed_fan_out_sees_what_succeeded_in_its_place() {
    let mut each = over(3);
    each.retry_count = 0;
    let mut gather = all_outputs();
    gather.trigger_rule = TriggerRule::AllDone;
    let script: Script = Box::new(|task| match task.key.step.item {
        Some(1) => Err(StepError::permanent("bad item")),
        _ => Ok(Report::default().with_output((*task.config).clone())),
    });
    let mut world = World::new(pipeline(vec![each, gather]), json!({}), script);
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(
        world.row("gather").output,
        json!({ "all": [{ "value": 0 }, null, { "value": 2 }], "status": "failed" })
    );
}

#[test]
fn what_a_fan_out_gave_is_known_after_a_crash_even_if_it_was_nothing() {
    for items in [0, 2] {
        let mut gather = all_outputs();
        gather.dependencies.push("slow".into());
        let steps = vec![over(items), step("slow", &[]), gather];
        let mut world = World::new(pipeline(steps), json!({}), echoes()).with_capacity(1);
        // Everything but the gathering is done when the worker dies.
        while world.status("gather") != StepStatus::Running {
            world.happen(world.possible()[0]);
        }
        world.crash(true);
        assert_eq!(world.run(), JobStatus::Success, "{:?}", world.job_error);
        let expected: Vec<Value> = (0..items).map(|item| json!({ "value": item })).collect();
        assert_eq!(world.row("gather").output["all"], json!(expected));
    }
}

#[test]
fn the_other_side_is_given_the_time_that_it_asked_for() {
    let mut throttled = step("a", &[]);
    throttled.retry = RetryPolicy {
        base_delay_seconds: 1.0,
        max_delay_seconds: 2.0,
        jitter: true,
    };
    let script: Script = Box::new(|task| match task.key.attempt {
        1 => Err(StepError::throttled("busy", Some(Duration::from_secs(90)))),
        _ => Ok(Report::default()),
    });
    let mut world = World::new(pipeline(vec![throttled]), json!({}), script);
    let began = world.now;
    while world.status("a") != StepStatus::Retrying {
        world.happen(world.possible()[0]);
    }
    assert_eq!(world.row("a").due_at, Some(began + Duration::from_secs(90)));
    // The due time is remembered: another worker waits for it too.
    world.crash(true);
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!(world.now.since(began), Duration::from_secs(90));
}

#[test]
fn with_jitter_the_wait_is_a_part_of_the_delay() {
    let mut flaky = step("a", &[]);
    flaky.retry = RetryPolicy {
        base_delay_seconds: 100.0,
        max_delay_seconds: 150.0,
        jitter: true,
    };
    let mut world = World::new(
        pipeline(vec![flaky]),
        json!({}),
        fails(2, ErrorClass::Transient),
    );
    let began = world.now;
    assert_eq!(world.run(), JobStatus::Success);
    let waited = world.now.since(began);
    assert!(
        waited > Duration::ZERO && waited < Duration::from_secs(250),
        "{waited:?}"
    );
    assert_ne!(
        waited.subsec_micros(),
        0,
        "a random part is no whole number of seconds"
    );
}

#[test]
fn a_job_is_cancelled_while_it_waits_for_a_retry() {
    let mut world = World::new(
        pipeline(vec![step("a", &[]), step("b", &["a"])]),
        json!({}),
        fails(9, ErrorClass::Transient),
    );
    while world.status("a") != StepStatus::Retrying {
        world.happen(world.possible()[0]);
    }
    let began = world.now;
    world.cancel();
    assert_eq!(world.run(), JobStatus::Cancelled);
    assert_eq!(
        (world.now, world.status("a")),
        (began, StepStatus::Cancelled)
    );
    assert!(world.letters.is_empty());
}

#[test]
fn a_job_is_cancelled_before_its_first_attempt_is_remembered_and_none_starts() {
    let mut world = World::new(pipeline(vec![over(5)]), json!({}), echoes());
    world.happen(Happening::Slot);
    world.cancel();
    assert_eq!(world.run(), JobStatus::Cancelled);
    assert!(world.starts.is_empty());
}

#[test]
fn an_attempt_of_the_last_owner_that_is_found_goes_on_and_counts_once() {
    let mut world = World::new(
        pipeline(vec![step("a", &[]), step("b", &["a"])]),
        json!({}),
        echoes(),
    );
    until_running(&mut world, 1);
    world.crash_but_attempts_live();
    let key = *world.running.keys().next().unwrap();
    world.happen(Happening::Adopted(key));
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!((world.row("a").attempt, world.row("a").lost), (1, 0));
    assert_eq!(world.starts.len(), 2);
}

#[test]
fn an_attempt_that_is_found_while_the_job_ends_is_stopped() {
    let mut world = World::new(pipeline(vec![step("a", &[])]), json!({}), echoes());
    until_running(&mut world, 1);
    world.crash_but_attempts_live();
    world.cancel();
    let key = *world.running.keys().next().unwrap();
    world.happen(Happening::Adopted(key));
    assert!(world.running[&key].1, "told to stop");
    assert_eq!(world.run(), JobStatus::Cancelled);
    assert_eq!(world.status("a"), StepStatus::Cancelled);
}

#[test]
fn the_last_of_two_artifacts_of_a_name_is_the_one() {
    let mut reader = step("b", &["a"]);
    reader.config = json!({ "x": "{{ steps.a.artifacts['x'] }}" });
    let mut world = World::new(pipeline(vec![step("a", &[]), reader]), json!({}), echoes());
    until_running(&mut world, 1);
    for (name, uri) in [("x", "file:///1"), ("y", "file:///2"), ("x", "file:///3")] {
        let name = ArtifactName::new(name).unwrap();
        let uri = uri.into();
        world.say(StepKey::step(0), StepEvent::Artifact { name, uri });
    }
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!(world.row("b").output, json!({ "x": "file:///3" }));
    assert_eq!(world.row("a").artifacts.len(), 2);
}

fn hooked(steps: Vec<Step>, parameters: Value) -> Pipeline {
    let hook = |name: &str| Hook {
        trigger_pipeline: Some(name.into()),
        parameters: parameters.as_object().cloned().unwrap(),
        webhook: None,
        credential: None,
    };
    let mut hooked = pipeline(steps);
    hooked.hooks = Hooks {
        on_success: vec![hook("publish")],
        on_failure: vec![hook("alarm")],
    };
    hooked
}

#[test]
fn a_failure_hook_sees_steps_that_never_ended_by_themselves() {
    let mut late = hooked(
        vec![step("a", &[]), step("b", &["a"]), step("c", &[])],
        json!({ "a": "{{ steps.a.status }}", "b": "{{ steps.b.status }}", "c": "{{ steps.c.status }}" }),
    );
    late.timeout_seconds = Some(60);
    // The last one gets no slot before the end.
    let mut world = World::new(late, json!({}), echoes()).with_capacity(1);
    until_running(&mut world, 1);
    world.happen(Happening::Time);
    assert_eq!(world.run(), JobStatus::Timeout);
    let [
        HookRow {
            target: HookTarget::TriggerPipeline {
                name, parameters, ..
            },
            ..
        },
    ] = &world.hooks[..]
    else {
        panic!("{:?} {:?}", world.hooks, world.job_error)
    };
    assert_eq!(name, "alarm");
    assert_eq!(
        json!(parameters),
        json!({ "a": "cancelled", "b": "skipped", "c": "skipped" })
    );
}

#[test]
fn a_cancelled_job_has_no_hooks() {
    let mut world = World::new(hooked(vec![step("a", &[])], json!({})), json!({}), echoes());
    until_running(&mut world, 1);
    world.cancel();
    assert_eq!(world.run(), JobStatus::Cancelled);
    assert!(world.hooks.is_empty());
}

#[test]
fn a_hook_that_cannot_be_rendered_is_told_and_hides_no_other() {
    let mut two = hooked(vec![step("a", &[])], json!({ "x": "{{ params.nothing }}" }));
    two.hooks.on_success.push(Hook {
        trigger_pipeline: None,
        parameters: serde_json::Map::new(),
        webhook: Some("https://example.org".into()),
        credential: Some("ops".into()),
    });
    let mut world = World::new(two, json!({}), echoes());
    assert_eq!(world.run(), JobStatus::Success);
    let expected = HookTarget::Webhook {
        url: "https://example.org".into(),
        credential: Some("ops".into()),
    };
    assert_eq!((world.hooks.len(), world.hooks[0].position), (1, 1));
    assert_eq!(world.hooks[0].target, expected);
    assert!(world.job_error.unwrap().starts_with("hook 1: /x: "));
}

#[test]
fn artifacts_and_metrics_over_the_limit_end_their_attempt() {
    let mut world = World::new(pipeline(vec![step("a", &[])]), json!({}), echoes());
    until_running(&mut world, 1);
    for n in 0..3 {
        world.say(
            StepKey::step(0),
            StepEvent::Metric {
                name: format!("{n}{}", "x".repeat(MAX_JSON_BYTES / 2)),
                value: 1.0,
            },
        );
    }
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(world.row("a").attempt, 1);
}

#[test]
fn checkpoints_that_wait_for_a_commit_are_replaced_by_later_ones() {
    let mut world = World::new(pipeline(vec![step("a", &[])]), json!({}), echoes());
    until_running(&mut world, 1);
    for n in 0..1000 {
        world.say(StepKey::step(0), StepEvent::Checkpoint(json!(n)));
    }
    let sent = world.commits.len();
    world.happen(Happening::Committed);
    world.happen(Happening::Committed);
    // The first was sent at once; the others met while it was under way.
    assert_eq!(world.commits.len(), sent + 2);
    assert_eq!(world.commits[sent + 1].changes.len(), 1);
    assert_eq!(world.row("a").checkpoint, Some((1000, json!(999))));
}

#[test]
fn a_checkpoint_over_the_limit_ends_its_attempt() {
    let mut world = World::new(pipeline(vec![step("a", &[])]), json!({}), echoes());
    until_running(&mut world, 1);
    world.say(
        StepKey::step(0),
        StepEvent::Checkpoint("x".repeat(MAX_JSON_BYTES).into()),
    );
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(
        (world.row("a").attempt, &world.row("a").checkpoint),
        (1, &None)
    );
}
