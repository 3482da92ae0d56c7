//! Laws of `commit`: what each change does.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::StoreFixture;
use super::scene::{LONG, Scene};
use crate::contract::StoreErrorKind;
use crate::model::{
    Artifact, ArtifactName, Change, DeadLetter, ErrorClass, HookRow, HookTarget, JobStatus,
    SkipReason, StepKey, StepPatch, StepStatus, Verdict,
};
use crate::testing::a_pipeline;
use crate::testing::build::{ends, moves, moves_with, new_job, succeeds};

const A: StepKey = StepKey::step(0);

pub(super) fn letter(key: StepKey) -> DeadLetter {
    DeadLetter {
        key,
        step_name: "s0".into(),
        attempts: 4,
        error_class: ErrorClass::Poison,
        error: "it can't be read".into(),
    }
}

fn items(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "n": n })).collect()
}

/// Asserts that the commit is refused as illegal and leaves the steps as they are.
async fn assert_illegal(
    scene: &Scene,
    lease: crate::model::LeaseRef,
    seq: u64,
    changes: Vec<Change>,
) {
    let before = scene.steps(lease.job).await;
    let fault = scene.try_commit(lease, seq, changes).await;
    let fault = fault.expect_err("it is not legal");
    assert_eq!(fault.kind, StoreErrorKind::Illegal);
    assert_eq!(scene.steps(lease.job).await, before);
}

pub(super) async fn a_step_keeps_what_it_is_given(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(1).await;
    let full = StepPatch {
        due_at: None,
        output: Some(json!({"rows": [1, 2]})),
        artifacts: Some(vec![Artifact {
            name: ArtifactName::new("a/b.csv").unwrap(),
            uri: "file:///data/b.csv".into(),
        }]),
        rows_processed: Some(3),
        bytes_transferred: Some(4),
        metrics: Some(Map::from_iter([("seconds".into(), json!(0.5))])),
        lost: Some(2),
        returned: Some(3),
        skip_reason: None,
        error_class: Some(ErrorClass::Transient),
        error: Some("the line is down".into()),
        error_stack: Some("timed out".into()),
    };
    let run = Change::Step {
        key: A,
        attempt: 3,
        to: StepStatus::Running,
        patch: Box::new(full.clone()),
    };
    scene.commit(lease, 1, vec![run]).await;
    // An empty patch leaves everything as it is.
    let end = Change::Step {
        key: A,
        attempt: 3,
        to: StepStatus::Success,
        patch: Box::default(),
    };
    scene.commit(lease, 2, vec![end]).await;

    let step = scene.steps(lease.job).await.remove(0);
    assert_eq!((step.status, step.attempt), (StepStatus::Success, 3));
    assert_eq!(Some(step.output_data), full.output);
    assert_eq!(Some(step.artifacts), full.artifacts);
    assert_eq!((step.rows_processed, step.bytes_transferred), (3, 4));
    assert_eq!(Some(step.metrics), full.metrics);
    assert_eq!((step.lost, step.returned, step.skip_reason), (2, 3, None));
    assert_eq!(step.error_class, full.error_class);
    assert_eq!(step.error_message, full.error);
    assert_eq!(step.error_stack, full.error_stack);
}

pub(super) async fn a_step_has_its_times_from_the_commits(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(2).await;
    let start = scene.now();
    let after = |ms| start + Duration::from_millis(ms);
    let at = async |seq, ms, to| {
        let mut commit = scene.commit_of(lease, seq, vec![moves(A, to)]);
        commit.at = after(ms);
        let verdict = scene.store.commit(&[commit]).await.unwrap();
        assert_eq!(verdict, [Verdict::Applied]);
        scene.steps(lease.job).await.swap_remove(0)
    };
    let step = at(1, 10, StepStatus::Running).await;
    assert_eq!(
        (step.started_at, step.completed_at),
        (Some(after(10)), None)
    );
    at(2, 20, StepStatus::Retrying).await;
    let step = at(3, 30, StepStatus::Running).await;
    assert_eq!(step.started_at, Some(after(10)));
    let step = at(4, 1234, StepStatus::Failed).await;
    assert_eq!(step.completed_at, Some(after(1234)));
    assert_eq!(step.duration_ms, Some(1224));

    let skipped = moves(StepKey::step(1), StepStatus::Skipped);
    scene.commit(lease, 5, vec![skipped]).await;
    let step = scene.steps(lease.job).await.remove(1);
    assert_eq!((step.started_at, step.duration_ms), (None, None));
    assert_eq!(step.completed_at, Some(scene.now()));
}

pub(super) async fn a_due_time_lasts_while_a_step_is_retrying(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(1).await;
    let due = scene.now() + Duration::from_secs(7);
    let with_due = |to| {
        let patch = StepPatch {
            due_at: Some(due),
            ..StepPatch::default()
        };
        vec![moves_with(A, to, patch)]
    };
    let seen = async || scene.steps(lease.job).await[0].next_run_at;
    scene.commit(lease, 1, with_due(StepStatus::Running)).await;
    assert_eq!(seen().await, None);
    scene.commit(lease, 2, with_due(StepStatus::Retrying)).await;
    assert_eq!(seen().await, Some(due));
    scene
        .commit(lease, 3, vec![moves(A, StepStatus::Running)])
        .await;
    assert_eq!(seen().await, None);
    scene
        .commit(lease, 4, vec![moves(A, StepStatus::Retrying)])
        .await;
    assert_eq!(seen().await, None);
}

pub(super) async fn a_skipped_step_says_why(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(SkipReason::ALL.len()).await;
    let skips = SkipReason::ALL.iter().enumerate().map(|(n, reason)| {
        let patch = StepPatch {
            skip_reason: Some(*reason),
            ..StepPatch::default()
        };
        moves_with(StepKey::step(n as u32), StepStatus::Skipped, patch)
    });
    scene.commit(lease, 1, skips.collect()).await;
    let steps = scene.steps(lease.job).await;
    let reasons: Vec<_> = steps.iter().filter_map(|step| step.skip_reason).collect();
    assert_eq!(reasons, SkipReason::ALL);
}

pub(super) async fn fanning_out_gives_a_pending_row_for_each_item(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(2).await;
    let fan = |items| vec![Change::Expand { step: 0, items }];
    scene.commit(lease, 1, fan(items(3))).await;

    let steps = scene.steps(lease.job).await;
    let rows: Vec<_> = steps
        .iter()
        .map(|step| (step.order_index, step.item_index, step.status, step.items))
        .collect();
    assert_eq!(
        rows,
        [
            (0, None, StepStatus::Running, Some(3)),
            (0, Some(0), StepStatus::Pending, None),
            (0, Some(1), StepStatus::Pending, None),
            (0, Some(2), StepStatus::Pending, None),
            (1, None, StepStatus::Pending, None),
        ]
    );
    assert_eq!(steps[0].started_at, Some(scene.now()));
    assert_eq!(steps[0].attempt, 0);
    assert_eq!(&*steps[2].name, &*steps[0].name);

    // Items move by the same table, and there are no others.
    let item = |n| StepKey::item(0, n);
    let done = vec![
        moves(item(2), StepStatus::Running),
        succeeds(item(2), json!("done")),
        moves(item(0), StepStatus::Skipped),
    ];
    scene.commit(lease, 2, done).await;
    assert_eq!(scene.steps(lease.job).await[3].output_data, json!("done"));
    assert_illegal(&scene, lease, 3, vec![moves(item(1), StepStatus::Success)]).await;
    assert_illegal(&scene, lease, 3, vec![moves(item(3), StepStatus::Running)]).await;
    assert_illegal(&scene, lease, 3, fan(items(1))).await;
    let nothing = StepKey::item(1, 0);
    assert_illegal(&scene, lease, 3, vec![moves(nothing, StepStatus::Running)]).await;
    let nothing = StepKey::step(2);
    assert_illegal(&scene, lease, 3, vec![moves(nothing, StepStatus::Running)]).await;
    // A fan of nothing is one too.
    let empty = Change::Expand {
        step: 1,
        items: vec![],
    };
    scene.commit(lease, 3, vec![empty]).await;
    assert_eq!(scene.steps(lease.job).await[4].items, Some(0));
}

pub(super) async fn only_a_pending_step_fans_out(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(3).await;
    let key = StepKey::step;
    let before = vec![
        moves(key(0), StepStatus::Running),
        moves(key(1), StepStatus::Running),
        moves(key(1), StepStatus::Retrying),
        moves(key(2), StepStatus::Skipped),
    ];
    scene.commit(lease, 1, before).await;
    for step in 0..4 {
        let items = items(1);
        assert_illegal(&scene, lease, 2, vec![Change::Expand { step, items }]).await;
    }
}

pub(super) async fn ten_thousand_items_fan_out_and_end(fixture: &dyn StoreFixture) {
    const COUNT: u32 = 10_000;
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(1).await;
    let all = items(COUNT as usize);
    let fan = Change::Expand {
        step: 0,
        items: all.clone(),
    };
    scene.commit(lease, 1, vec![fan]).await;
    let each = |to| {
        (0..COUNT)
            .map(move |n| moves(StepKey::item(0, n), to))
            .collect()
    };
    scene.commit(lease, 2, each(StepStatus::Running)).await;
    scene.commit(lease, 3, each(StepStatus::Success)).await;
    scene.commit(lease, 4, vec![ends(JobStatus::Pending)]).await;

    let steps = scene.steps(lease.job).await;
    assert_eq!(steps.len(), COUNT as usize + 1);
    for (n, step) in (0..).zip(&steps[1..]) {
        assert_eq!(
            (step.item_index, step.status),
            (Some(n), StepStatus::Success)
        );
    }
    let snapshot = scene.claim(lease.job, LONG).await.job;
    assert_eq!(snapshot.steps.len(), COUNT as usize + 1);
    assert_eq!(snapshot.steps[0].items, Some(all));
    assert!(snapshot.steps.is_sorted_by_key(|step| step.key));
}

pub(super) async fn checkpoints_are_of_running_steps_and_count_up(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(2).await;
    let check = |seq| Change::Checkpoint {
        key: A,
        seq,
        state: json!({ "seq": seq }),
    };
    assert_illegal(&scene, lease, 1, vec![check(1)]).await;
    scene
        .commit(lease, 1, vec![moves(A, StepStatus::Running), check(3)])
        .await;
    for seq in [1, 3] {
        assert_illegal(&scene, lease, 2, vec![check(seq)]).await;
    }
    assert_illegal(&scene, lease, 2, vec![check(4), check(4)]).await;
    let nothing = Change::Checkpoint {
        key: StepKey::step(2),
        seq: 1,
        state: json!(1),
    };
    assert_illegal(&scene, lease, 2, vec![nothing]).await;
    scene.commit(lease, 2, vec![check(4), check(9)]).await;
    scene
        .commit(lease, 3, vec![moves(A, StepStatus::Retrying)])
        .await;
    assert_illegal(&scene, lease, 4, vec![check(10)]).await;
    scene.commit(lease, 4, vec![ends(JobStatus::Pending)]).await;

    // The numbers go on under the next lease.
    let claimed = scene.claim(lease.job, LONG).await;
    let kept = Some((9, json!({"seq": 9})));
    assert_eq!(claimed.job.steps[0].checkpoint, kept);
    let lease = claimed.lease;
    scene
        .commit(lease, 1, vec![moves(A, StepStatus::Running)])
        .await;
    assert_illegal(&scene, lease, 2, vec![check(9)]).await;
    scene.commit(lease, 2, vec![check(10)]).await;
}

pub(super) async fn dead_letters_and_hooks_are_remembered(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(2).build()).await;
    let job = scene.submit(new_job(&pipeline)).await;
    let lease = scene.claim(job, LONG).await.lease;
    let hooks = [
        HookRow {
            position: 0,
            target: HookTarget::TriggerPipeline {
                name: "next".into(),
                parameters: Map::from_iter([("n".into(), json!(1))]),
                after: pipeline.reference.clone(),
            },
        },
        HookRow {
            position: 1,
            target: HookTarget::Webhook {
                url: "https://example.org/hook".into(),
                credential: Some("ops-hook".into()),
            },
        },
    ];
    let fail = |n| moves(StepKey::step(n), StepStatus::Failed);
    let end = vec![
        fail(1),
        Change::Bury(letter(StepKey::step(1))),
        fail(0),
        Change::Bury(letter(StepKey::step(0))),
        Change::Hook(hooks[1].clone()),
        Change::Hook(hooks[0].clone()),
    ];
    scene.commit(lease, 1, end).await;
    let again = Change::Bury(letter(StepKey::step(0)));
    assert_illegal(&scene, lease, 2, vec![again]).await;
    let again = Change::Hook(hooks[0].clone());
    assert_illegal(&scene, lease, 2, vec![again]).await;
    let nothing = Change::Bury(letter(StepKey::step(2)));
    assert_illegal(&scene, lease, 2, vec![nothing]).await;

    let letters = scene.store.dead_letters(job).await.unwrap();
    assert_eq!(
        letters,
        [letter(StepKey::step(0)), letter(StepKey::step(1))]
    );
    assert_eq!(scene.store.hooks(job).await.unwrap(), hooks);
    let other = scene.submit(new_job(&pipeline)).await;
    for job in [other, new_job(&pipeline).id] {
        assert_eq!(scene.store.dead_letters(job).await.unwrap(), []);
        assert_eq!(scene.store.hooks(job).await.unwrap(), []);
    }
}

pub(super) async fn the_end_of_a_job_has_its_figures(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(1).await;
    let started = scene.record(lease.job).await.started_at.unwrap();
    let end = Change::Job {
        to: JobStatus::Failed,
        error: Some("s0 failed".into()),
        error_stack: Some("disk full\nno space".into()),
        rows_processed: 12,
        bytes_transferred: 345,
    };
    let skipped = moves(A, StepStatus::Skipped);
    let mut commit = scene.commit_of(lease, 1, vec![skipped, end]);
    commit.at = started + Duration::from_micros(2_500_999);
    let verdict = scene.store.commit(&[commit.clone()]).await.unwrap();
    assert_eq!(verdict, [Verdict::Applied]);

    let record = scene.record(lease.job).await;
    assert_eq!(record.status, JobStatus::Failed);
    assert_eq!(record.error_message.as_deref(), Some("s0 failed"));
    assert_eq!(record.error_stack.as_deref(), Some("disk full\nno space"));
    assert_eq!((record.rows_processed, record.bytes_transferred), (12, 345));
    assert_eq!(record.completed_at, Some(commit.at));
    assert_eq!(record.duration_ms, Some(2500));
    assert_eq!(record.lease_expires_at, None);
    assert_eq!(record.worker_id, Some(scene.worker));
    assert_eq!(record.fence, lease.fence);
}
