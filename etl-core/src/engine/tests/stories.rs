//! What each part of the document means, one story each.

use serde_json::json;

use super::world::*;
use crate::model::*;

#[test]
fn a_chain_runs_in_order_with_one_commit_between_its_steps() {
    let mut world = World::new(
        pipeline(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])]),
        json!({}),
        echoes(),
    );
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!(
        world
            .starts
            .iter()
            .map(|key| key.step.step)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    // Running; success + running; success + running; success + the job's end.
    assert_eq!(world.commits.len(), 4);
}

#[test]
fn a_failed_attempt_is_repeated_when_its_delay_is_over_and_not_before() {
    let mut flaky = step("a", &[]);
    flaky.retry = RetryPolicy {
        base_delay_seconds: 10.0,
        max_delay_seconds: 15.0,
        jitter: false,
    };
    let mut world = World::new(
        pipeline(vec![flaky]),
        json!({}),
        fails(3, ErrorClass::Transient),
    );
    let began = world.now;
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!(seconds(world.now.since(began)), 10 + 15 + 15);
    assert_eq!(world.row("a").attempt, 4);
    assert!(world.letters.is_empty());
}

#[test]
fn spent_retries_end_in_a_dead_letter_and_permanent_failures_at_once() {
    for (class, attempts) in [
        (ErrorClass::Transient, 3),
        (ErrorClass::Throttled, 3),
        (ErrorClass::Permanent, 1),
        (ErrorClass::Auth, 1),
        (ErrorClass::Poison, 1),
    ] {
        let mut failing = step("a", &[]);
        failing.retry_count = 2;
        let mut world = World::new(pipeline(vec![failing]), json!({}), fails(9, class));
        assert_eq!(world.run(), JobStatus::Failed);
        assert_eq!(world.row("a").attempt, attempts, "{class}");
        assert_eq!(
            (world.letters.len(), world.letters[0].attempts),
            (1, attempts)
        );
        assert_eq!(world.job_error.as_deref(), Some("step \"a\" failed: no"));
    }
}

#[test]
fn an_attempt_that_runs_too_long_is_stopped_and_counts_as_a_timeout() {
    let mut slow = step("a", &[]);
    slow.retry_count = 1;
    slow.timeout_seconds = 5;
    let mut world = World::new(pipeline(vec![slow]), json!({}), echoes());
    for _ in 0..2 {
        while world.running.is_empty() {
            world.happen(world.possible()[0]);
        }
        world.happen(Happening::Time);
        assert!(
            world
                .running
                .values()
                .all(|(_, told_to_stop)| *told_to_stop)
        );
        let key = *world.running.keys().next().unwrap();
        world.happen(Happening::Ended(key));
    }
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(world.status("a"), StepStatus::Timeout);
    assert_eq!(
        world.job_error.as_deref(),
        Some("step \"a\" failed: it ran longer than its 5 s")
    );
}

#[test]
fn a_job_that_runs_too_long_ends_as_timeout() {
    let mut slow = pipeline(vec![step("a", &[]), step("b", &["a"])]);
    slow.timeout_seconds = Some(60);
    let mut world = World::new(slow, json!({}), echoes());
    while world.running.is_empty() {
        world.happen(world.possible()[0]);
    }
    world.happen(Happening::Time);
    assert_eq!(world.run(), JobStatus::Timeout);
    assert_eq!(
        [world.status("a"), world.status("b")],
        [StepStatus::Cancelled, StepStatus::Skipped]
    );
}

#[test]
fn a_failure_skips_what_needs_it_and_runs_what_waits_for_it() {
    let mut alert = step("alert", &["middle"]);
    alert.trigger_rule = TriggerRule::OneFailed;
    let mut cleanup = step("cleanup", &["middle"]);
    cleanup.trigger_rule = TriggerRule::AllDone;
    let mut quiet = step("quiet", &["other"]);
    quiet.trigger_rule = TriggerRule::OneFailed;
    let steps = vec![
        step("first", &[]),
        step("middle", &["first"]),
        alert,
        cleanup,
        step("other", &[]),
        quiet,
    ];
    let script: Script = Box::new(|task| match &*task.step_name {
        "first" => Err(StepError::permanent("broken")),
        _ => Ok(Report::default()),
    });
    let mut world = World::new(pipeline(steps), json!({}), script);
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(
        world.row("middle").skip_reason,
        Some(SkipReason::UpstreamFailed)
    );
    assert_eq!(
        [world.status("alert"), world.status("cleanup")],
        [StepStatus::Success, StepStatus::Success]
    );
    assert_eq!(
        world.row("quiet").skip_reason,
        Some(SkipReason::TriggerRule)
    );
}

#[test]
fn when_decides_and_a_choice_is_no_failure() {
    let mut chosen = step("chosen", &[]);
    chosen.when = Some(When::Template("{{ params.full }}".into()));
    let mut after = step("after", &["chosen"]);
    after.trigger_rule = TriggerRule::NoneFailed;
    let steps = vec![chosen, step("needs", &["chosen"]), after];
    let mut world = World::new(pipeline(steps), json!({ "full": false }), echoes());
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!(world.row("chosen").skip_reason, Some(SkipReason::Condition));
    assert_eq!(
        world.row("needs").skip_reason,
        Some(SkipReason::UpstreamSkipped)
    );
    assert_eq!(world.status("after"), StepStatus::Success);
}

#[test]
fn a_condition_that_is_no_truth_fails_its_step() {
    let mut odd = step("odd", &[]);
    odd.when = Some(When::Template("{{ params.n }}".into()));
    let mut world = World::new(pipeline(vec![odd]), json!({ "n": 3 }), echoes());
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(
        world.job_error.as_deref(),
        Some("step \"odd\" failed: `when` gave a number, not true or false")
    );
}

#[test]
fn outputs_reach_the_templates_of_later_steps() {
    let mut first = step("first", &[]);
    first.config = json!({ "list": [1, 2], "text": "{{ params.word }}" });
    let mut second = step("second-step", &["first"]);
    second.config = json!({ "from": "{{ steps.first.output.list }}", "said": "<{{ steps.first.output.text }}>" });
    let mut world = World::new(
        pipeline(vec![first, second]),
        json!({ "word": "hi" }),
        echoes(),
    );
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!(
        world.row("second-step").output,
        json!({ "from": [1, 2], "said": "<hi>" })
    );
}

#[test]
fn a_step_fans_out_and_its_dependants_see_all_outputs_in_order() {
    let mut each = step("each", &[]);
    each.for_each = Some(ForEach::Template("{{ params.funds }}".into()));
    each.config = json!({ "fund": "{{ item.id }}", "index": "{{ index }}" });
    let mut gather = step("gather", &["each"]);
    gather.config =
        json!({ "all": "{{ steps.each.output }}", "rows": "{{ steps.each.rows_processed }}" });
    let params = json!({ "funds": [{ "id": "x" }, { "id": "y" }, { "id": "z" }] });
    let mut world = World::new(pipeline(vec![each, gather]), params, echoes()).with_capacity(2);
    assert_eq!(world.run(), JobStatus::Success);
    let all = &world.row("gather").output["all"];
    assert_eq!(
        *all,
        json!([{ "fund": "x", "index": 0 }, { "fund": "y", "index": 1 }, { "fund": "z", "index": 2 }])
    );
    assert_eq!(world.row("gather").output["rows"], json!(3));
}

#[test]
fn an_empty_list_is_a_success_and_no_list_a_failure() {
    for (items, expected) in [
        (json!([]), JobStatus::Success),
        (json!("abc"), JobStatus::Failed),
    ] {
        let mut each = step("each", &[]);
        each.for_each = Some(ForEach::Template("{{ params.items }}".into()));
        let mut world = World::new(
            pipeline(vec![each, step("after", &["each"])]),
            json!({ "items": items }),
            echoes(),
        );
        assert_eq!(world.run(), expected);
    }
}

#[test]
fn items_are_independent_and_one_that_fails_fails_the_step() {
    let mut each = step("each", &[]);
    each.for_each = Some(ForEach::Items(vec![json!(0), json!(1), json!(2)]));
    each.retry_count = 0;
    let script: Script = Box::new(|task| match task.key.step.item {
        Some(1) => Err(StepError::permanent("bad item")),
        _ => Ok(Report::default()),
    });
    let mut world = World::new(pipeline(vec![each]), json!({}), script);
    assert_eq!(world.run(), JobStatus::Failed);
    let statuses: Vec<_> = (0..3)
        .map(|item| world.rows[&StepKey::item(0, item)].status)
        .collect();
    assert_eq!(
        statuses,
        [StepStatus::Success, StepStatus::Failed, StepStatus::Success]
    );
    assert_eq!(
        world.job_error.as_deref(),
        Some("step \"each\"[1] failed: bad item")
    );
}

#[test]
fn a_condition_on_the_item_chooses_items() {
    let mut each = step("each", &[]);
    each.for_each = Some(ForEach::Items(vec![json!(1), json!(2), json!(3)]));
    each.when = Some(When::Template("{{ item is odd }}".into()));
    let mut world = World::new(pipeline(vec![each]), json!({}), echoes());
    assert_eq!(world.run(), JobStatus::Success);
    let statuses: Vec<_> = (0..3)
        .map(|item| world.rows[&StepKey::item(0, item)].status)
        .collect();
    assert_eq!(
        statuses,
        [
            StepStatus::Success,
            StepStatus::Skipped,
            StepStatus::Success
        ]
    );
}

#[test]
fn no_more_steps_run_at_once_than_the_document_and_the_worker_allow() {
    let mut wide = pipeline((0..20).map(|at| step(&format!("s{at}"), &[])).collect());
    wide.max_parallel_steps = Some(3);
    let mut world = World::new(wide, json!({}), echoes()).with_capacity(8);
    let mut most = 0;
    while world.closed.is_none() {
        most = most.max(world.running.len());
        world.happen(world.possible()[0]);
    }
    assert_eq!(most, 3);
}

#[test]
fn a_cancelled_job_stops_what_runs_and_starts_nothing_more() {
    let mut world = World::new(
        pipeline(vec![step("a", &[]), step("b", &[]), step("c", &["a"])]),
        json!({}),
        echoes(),
    )
    .with_capacity(1);
    while world.running.is_empty() {
        world.happen(world.possible()[0]);
    }
    world.cancel();
    let started = world.starts.len();
    assert_eq!(world.run(), JobStatus::Cancelled);
    assert_eq!(world.starts.len(), started);
    assert_eq!(
        [world.status("a"), world.status("b"), world.status("c")],
        [
            StepStatus::Cancelled,
            StepStatus::Skipped,
            StepStatus::Skipped
        ]
    );
    assert_eq!(world.job_error.as_deref(), Some("asked"));
}

#[test]
fn a_lost_lease_stops_everything_and_reports_nothing() {
    let mut world = World::new(
        pipeline(vec![step("a", &[]), step("b", &[])]),
        json!({}),
        echoes(),
    );
    while world.running.len() < 2 {
        world.happen(world.possible()[0]);
    }
    let commits = world.commits.len();
    world.lose();
    assert!(
        world
            .running
            .values()
            .all(|(_, told_to_stop)| *told_to_stop)
    );
    assert_eq!(
        (world.commits.len(), world.closed, world.job),
        (commits, Some(JobStatus::Running), JobStatus::Running)
    );
}

#[test]
fn a_lost_lease_leaves_what_outlives_its_worker_to_the_next_owner() {
    let mut outside = step("outside", &[]);
    outside.executor = ExecutorKind::Docker;
    let mut world = World::new(
        pipeline(vec![step("inside", &[]), outside]),
        json!({}),
        echoes(),
    );
    while world.running.len() < 2 {
        world.happen(world.possible()[0]);
    }
    world.lose();
    let told: Vec<(&str, bool)> = world
        .running
        .values()
        .map(|(task, told_to_stop)| (&*task.step_name, *told_to_stop))
        .collect();
    assert_eq!(told, [("inside", true), ("outside", false)]);
}

#[test]
fn a_step_that_kills_its_workers_comes_to_an_end() {
    let mut world = World::new(
        pipeline(vec![step("a", &[]), step("b", &["a"])]),
        json!({}),
        echoes(),
    );
    for _ in 0..4 {
        while world.running.is_empty() {
            world.happen(world.possible()[0]);
        }
        world.crash(true);
    }
    assert_eq!(world.run(), JobStatus::Failed);
    assert_eq!(
        (world.row("a").lost, world.letters[0].error_class),
        (4, ErrorClass::Poison)
    );
}

#[test]
fn lost_attempts_do_not_use_up_retries() {
    let mut flaky = step("a", &[]);
    flaky.retry_count = 1;
    let mut world = World::new(
        pipeline(vec![flaky]),
        json!({}),
        fails(3, ErrorClass::Transient),
    );
    for _ in 0..2 {
        while world.running.is_empty() {
            world.happen(world.possible()[0]);
        }
        world.crash(true);
    }
    // Two lost, one failed, one more allowed: the fourth succeeds.
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!((world.row("a").attempt, world.row("a").lost), (4, 2));
}

#[test]
fn a_checkpoint_outlives_its_attempt() {
    let mut world = World::new(pipeline(vec![step("a", &[])]), json!({}), echoes());
    while world.running.is_empty() {
        world.happen(world.possible()[0]);
    }
    world.say(
        StepKey::step(0),
        StepEvent::Checkpoint(json!({ "offset": 7 })),
    );
    world.happen(Happening::Committed);
    world.crash(false);
    while world.running.is_empty() {
        world.happen(world.possible()[0]);
    }
    let (task, _) = world.running.values().next().unwrap();
    assert_eq!(task.checkpoint, Some(json!({ "offset": 7 })));
    world.say(
        StepKey::step(0),
        StepEvent::Checkpoint(json!({ "offset": 8 })),
    );
    assert_eq!(world.run(), JobStatus::Success);
    assert_eq!(world.row("a").checkpoint, Some((2, json!({ "offset": 8 }))));
}

#[test]
fn a_report_that_does_not_balance_or_is_too_large_is_not_believed() {
    let unbalanced = Report {
        balance: Some(Balance {
            rows_read: 10,
            rows_loaded: 9,
            ..Balance::default()
        }),
        ..Report::default()
    };
    let large = Report::default().with_output("x".repeat(MAX_JSON_BYTES));
    for (report, message) in [
        (
            unbalanced,
            "the records don't balance: 10 read, but 9 loaded, 0 quarantined and 0 filtered",
        ),
        (
            large,
            "the output of 262146 bytes is over the limit of 262144; write an artifact instead",
        ),
    ] {
        let mut world = World::new(
            pipeline(vec![step("a", &[])]),
            json!({}),
            Box::new(move |_| Ok(report.clone())),
        );
        assert_eq!(world.run(), JobStatus::Failed);
        assert_eq!(
            world.job_error,
            Some(format!("step \"a\" failed: {message}"))
        );
        assert_eq!(world.row("a").attempt, 1);
    }
}

#[test]
fn hooks_are_remembered_with_the_end_of_the_job() {
    let hook = |name: &str| Hook {
        trigger_pipeline: Some(name.into()),
        parameters: json!({ "day": "{{ params.day }}", "rows": "{{ steps.a.rows_processed }}" })
            .as_object()
            .cloned()
            .unwrap(),
        webhook: None,
        credential: None,
    };
    let mut hooked = pipeline(vec![step("a", &[])]);
    hooked.hooks = Hooks {
        on_success: vec![hook("publish")],
        on_failure: vec![hook("alarm")],
    };
    for (script, name, rows) in [
        (echoes(), "publish", 1),
        (fails(9, ErrorClass::Permanent), "alarm", 0),
    ] {
        let mut world = World::new(hooked.clone(), json!({ "day": "monday" }), script);
        world.run();
        let [
            HookRow {
                position: 0,
                target:
                    HookTarget::TriggerPipeline {
                        name: triggered,
                        parameters,
                        ..
                    },
            },
        ] = &world.hooks[..]
        else {
            panic!("{:?}", world.hooks)
        };
        assert_eq!(
            (triggered.as_str(), &parameters["day"], &parameters["rows"]),
            (name, &json!("monday"), &json!(rows))
        );
    }
}
