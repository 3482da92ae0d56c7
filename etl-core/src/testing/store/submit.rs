//! Laws of `submit`, `waiting` and `dispatched`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::StoreFixture;
use super::scene::{LONG, Scene};
use crate::contract::StoreErrorKind;
use crate::contract::store::{LeaseState, Submitted};
use crate::model::{
    Artifact, ArtifactName, By, Fence, Hint, JobStatus, NewJob, OnLimit, SkipReason, StepKey,
    StepStatus, TakenOver, Timestamp, TriggerType,
};
use crate::testing::build::{ends, moves};
use crate::testing::{a_pipeline, new_job};

pub(super) async fn a_job_begins_pending_with_a_pending_row_for_each_step(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene
        .put(a_pipeline("p").step("a").step_after("b", &["a"]).build())
        .await;
    let job = scene.submit(new_job(&pipeline)).await;

    let record = scene.record(job).await;
    assert_eq!(record.status, JobStatus::Pending);
    assert_eq!(record.fence, Fence(0));
    assert_eq!(
        (record.worker_id, record.started_at, record.completed_at),
        (None, None, None)
    );
    scene.assert_time(Some(record.created_at), scene.now());
    let steps = scene.steps(job).await;
    let rows: Vec<_> = steps
        .iter()
        .map(|step| (&*step.name, step.order_index, step.item_index, step.status))
        .collect();
    assert_eq!(
        rows,
        [
            ("a", 0, None, StepStatus::Pending),
            ("b", 1, None, StepStatus::Pending)
        ]
    );
}

pub(super) async fn the_same_key_and_body_is_the_same_job(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let mut first = new_job(&pipeline);
    first.idempotency_key = Some("k".into());
    first.parameters = json!({"a": 1, "b": [1.5, null, "x"]});
    let mut second = new_job(&pipeline);
    second.idempotency_key.clone_from(&first.idempotency_key);
    second.parameters = json!({"b": [1.5, null, "x"], "a": 1});
    let (first, second_id) = (scene.submit(first).await, second.id);

    let answer = scene.store.submit(second).await.unwrap();
    assert_eq!(answer, Submitted::Existing(first));
    assert_eq!(scene.store.job(second_id).await.unwrap(), None);
}

pub(super) async fn the_same_key_with_another_body_makes_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let newer = scene.put(a_pipeline("p").step("b").build()).await;
    let mut first = new_job(&pipeline);
    first.idempotency_key = Some("k".into());
    let mut other_parameters = new_job(&pipeline);
    other_parameters.idempotency_key = Some("k".into());
    other_parameters.parameters = json!({"a": 1});
    let mut other_version = new_job(&newer);
    other_version.idempotency_key = Some("k".into());
    let first = scene.submit(first).await;

    for other in [other_parameters, other_version] {
        let id = other.id;
        let answer = scene.store.submit(other).await.unwrap();
        assert_eq!(answer, Submitted::KeyTaken(first));
        assert_eq!(scene.store.job(id).await.unwrap(), None);
    }
}

pub(super) async fn the_same_id_is_the_same_job(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let job = new_job(&pipeline);
    let id = scene.submit(job.clone()).await;
    scene.store.cancel(id, "not now").await.unwrap();

    let again = scene.store.submit(job.clone()).await.unwrap();
    assert_eq!(again, Submitted::Existing(id));
    let mut other = job;
    other.parameters = json!({"a": 1});
    let other = scene.store.submit(other).await.unwrap();
    assert_eq!(other, Submitted::KeyTaken(id));
    assert_eq!(scene.status(id).await, JobStatus::Cancelled);
}

pub(super) async fn a_job_of_an_unknown_pipeline_version_is_refused(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let mut job = new_job(&pipeline);
    job.pipeline.version = 2;
    let id = job.id;

    let fault = scene.store.submit(job).await.expect_err("no such version");
    assert_eq!(fault.kind, StoreErrorKind::NotFound);
    assert_eq!(scene.store.job(id).await.unwrap(), None);
}

pub(super) async fn a_job_keeps_the_version_that_it_was_accepted_with(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let old = scene.put(a_pipeline("p").step("old").build()).await;
    let job = scene.submit(new_job(&old)).await;
    scene.put(a_pipeline("p").step("new").build()).await;
    scene.store.remove_pipeline("default", "p").await.unwrap();
    // Versions of a removed pipeline stay, also for jobs that come late.
    let late = scene.submit(new_job(&old)).await;

    for job in [job, late] {
        let claimed = scene.claim(job, LONG).await.job;
        assert_eq!(claimed.pipeline, old.reference);
        assert_eq!(claimed.document, old.document);
        assert_eq!(scene.record(job).await.pipeline_version, 1);
        assert_eq!(&*scene.steps(job).await[0].name, "old");
    }
}

pub(super) async fn everything_said_of_a_job_is_kept(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene
        .put(a_pipeline("p").in_namespace("n").step("a").build())
        .await;
    let first = scene.submit(new_job(&pipeline)).await;
    let mut job = new_job(&pipeline);
    job.trigger_type = TriggerType::Scheduled;
    job.triggered_by = By("schedule:p".into());
    job.scheduled_for = Some(Timestamp::from_micros(1_704_067_200_123_456));
    job.parameters = json!({"month": "2024-01", "deep": {"list": [1, 2.5, true, null]}});
    job.context = Map::from_iter([(
        "base_dir".into(),
        json!({"folder": "/data/in", "root": "/data"}),
    )]);
    job.priority = 7;
    job.retry_of = Some(first);
    job.retry_attempt = 2;
    let id = scene.submit(job.clone()).await;

    let record = scene.record(id).await;
    assert_eq!(record.pipeline_id, pipeline.reference.id);
    assert_eq!((&*record.namespace, &*record.pipeline), ("n", "p"));
    assert_eq!(record.trigger_type, job.trigger_type);
    assert_eq!(record.triggered_by, job.triggered_by);
    assert_eq!(record.scheduled_for, job.scheduled_for);
    assert_eq!(record.parameters, job.parameters);
    assert_eq!(record.context, job.context);
    assert_eq!(record.priority, 7);
    assert_eq!(record.retry_of, Some(first));
    assert_eq!(record.retry_attempt, 2);
    let snapshot = scene.claim(id, LONG).await.job;
    assert_eq!(snapshot.id, id);
    assert_eq!(snapshot.trigger_type, job.trigger_type);
    assert_eq!(snapshot.scheduled_for, job.scheduled_for);
    assert_eq!(*snapshot.parameters, job.parameters);
    assert_eq!(snapshot.context, job.context);
    assert_eq!(snapshot.retry_attempt, 2);
    assert_eq!(snapshot.cancel_requested, None);
    assert_eq!(snapshot.steps, []);
}

fn taken(key: StepKey, items: Option<Vec<Value>>) -> TakenOver {
    TakenOver {
        key,
        items,
        output: json!({"of": key.to_string()}),
        artifacts: vec![Artifact {
            name: ArtifactName::new("raw.parquet").unwrap(),
            uri: format!("memory:///old/{key}/raw.parquet"),
        }],
        rows_processed: 10,
        bytes_transferred: 20,
    }
}

pub(super) async fn results_that_are_taken_over_are_successes_from_the_start(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(3).build()).await;
    let mut job = new_job(&pipeline);
    job.taken_over = vec![
        taken(StepKey::step(0), None),
        taken(StepKey::item(1, 1), None),
        taken(StepKey::step(1), Some(vec![json!("x"), json!("y")])),
        taken(StepKey::item(1, 0), None),
    ];
    let id = scene.submit(job.clone()).await;

    let steps = scene.steps(id).await;
    let rows: Vec<_> = steps
        .iter()
        .map(|step| (step.order_index, step.item_index, step.status, step.items))
        .collect();
    assert_eq!(
        rows,
        [
            (0, None, StepStatus::Success, None),
            (1, None, StepStatus::Success, Some(2)),
            (1, Some(0), StepStatus::Success, None),
            (1, Some(1), StepStatus::Success, None),
            (2, None, StepStatus::Pending, None),
        ]
    );
    for step in &steps[..4] {
        assert_eq!(step.attempt, 0);
        assert_eq!((step.started_at, step.duration_ms), (None, None));
        assert_eq!(step.completed_at, Some(scene.record(id).await.created_at));
    }
    let snapshot = scene.claim(id, LONG).await.job;
    assert_eq!(snapshot.steps.len(), 4);
    for step in snapshot.steps {
        let given = job.taken_over.iter().find(|taken| taken.key == step.key);
        let given = given.unwrap();
        assert_eq!(step.status, StepStatus::Success);
        assert_eq!(step.items, given.items);
        assert_eq!(step.output, given.output);
        assert_eq!(step.artifacts, given.artifacts);
        assert_eq!((step.rows_processed, step.bytes_transferred), (10, 20));
    }
}

pub(super) async fn results_that_do_not_fit_are_refused(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(2).build()).await;
    let two = || Some(vec![json!(1), json!(2)]);
    for bad in [
        vec![taken(StepKey::step(2), None)],
        vec![taken(StepKey::step(0), None), taken(StepKey::step(0), None)],
        vec![taken(StepKey::item(0, 0), None)],
        vec![taken(StepKey::step(0), two())],
        vec![
            taken(StepKey::step(0), two()),
            taken(StepKey::item(0, 0), None),
            taken(StepKey::item(0, 2), None),
        ],
    ] {
        let mut job = new_job(&pipeline);
        job.taken_over = bad;
        let id = job.id;
        let fault = scene.store.submit(job).await.expect_err("it does not fit");
        assert_eq!(fault.kind, StoreErrorKind::Illegal);
        assert_eq!(scene.store.job(id).await.unwrap(), None);
    }
}

pub(super) async fn a_job_over_the_limit_is_skipped_where_its_pipeline_says_so(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let document = a_pipeline("p").steps(2).at_limit(2, OnLimit::Skip).build();
    let pipeline = scene.put(document).await;
    let other = scene.put(a_pipeline("q").steps(1).build()).await;
    scene.submit(new_job(&other)).await;
    let running = scene.submit(new_job(&pipeline)).await;
    let lease = scene.claim(running, LONG).await.lease;
    let waiting = scene.submit(new_job(&pipeline)).await;

    // It is a job, so that it can be seen, and its end is there from the start.
    let skipped = scene.submit(new_job(&pipeline)).await;
    let record = scene.record(skipped).await;
    assert_eq!(record.status, JobStatus::Cancelled);
    assert_eq!(record.completed_at, Some(record.created_at));
    assert_eq!((record.started_at, record.fence), (None, Fence(0)));
    let reason = record.cancel_requested.unwrap();
    assert!(reason.contains("limit is 2"), "{reason}");
    for step in scene.steps(skipped).await {
        assert_eq!(step.status, StepStatus::Skipped);
        assert_eq!(step.skip_reason, Some(SkipReason::JobEnded));
    }
    assert_eq!(scene.status(running).await, JobStatus::Running);
    assert_eq!(scene.status(waiting).await, JobStatus::Pending);

    // Of all fires of a backfill each is to run.
    let mut backfill = new_job(&pipeline);
    backfill.trigger_type = TriggerType::Backfill;
    let backfill = scene.submit(backfill).await;
    assert_eq!(scene.status(backfill).await, JobStatus::Pending);
    scene.store.cancel(backfill, "").await.unwrap();

    // One that ends, or that is asked to, makes room.
    let skips = vec![
        moves(StepKey::step(0), StepStatus::Skipped),
        moves(StepKey::step(1), StepStatus::Skipped),
        ends(JobStatus::Success),
    ];
    scene.commit(lease, 1, skips).await;
    let next = scene.submit(new_job(&pipeline)).await;
    assert_eq!(scene.status(next).await, JobStatus::Pending);
    scene.claim(next, LONG).await;
    scene.store.cancel(next, "").await.unwrap();
    let last = scene.submit(new_job(&pipeline)).await;
    assert_eq!(scene.status(last).await, JobStatus::Pending);
}

pub(super) async fn jobs_of_a_backfill_wait_and_nobody_gives_way_to_them(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    for (name, on_limit) in [("skips", OnLimit::Skip), ("cancels", OnLimit::CancelOldest)] {
        let document = a_pipeline(name).step("a").at_limit(1, on_limit).build();
        let pipeline = scene.put(document).await;
        let mut backfill = Vec::new();
        for _ in 0..3 {
            let job = NewJob {
                trigger_type: TriggerType::Backfill,
                ..new_job(&pipeline)
            };
            backfill.push(scene.submit(job).await);
        }
        scene.claim(backfill[0], LONG).await;
        let other = scene.submit(new_job(&pipeline)).await;
        assert_eq!(scene.status(other).await, JobStatus::Pending, "{name}");
        assert_eq!(scene.record(backfill[0]).await.cancel_requested, None);
        for job in &backfill[1..] {
            assert_eq!(scene.status(*job).await, JobStatus::Pending, "{name}");
        }
        // The limit itself holds for all.
        assert_eq!(scene.try_claim(other, LONG).await, None, "{name}");
    }
}

pub(super) async fn the_oldest_jobs_give_way_where_their_pipeline_says_so(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let queueing = scene
        .put(a_pipeline("p").steps(1).with_limit(9).build())
        .await;
    let other = scene.put(a_pipeline("q").steps(1).build()).await;
    let other = scene.submit(new_job(&other)).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        scene.pass(Duration::from_millis(5)).await;
        jobs.push(scene.submit(new_job(&queueing)).await);
    }
    let lease = scene.claim(jobs[1], LONG).await.lease;
    scene.store.dispatched(&[jobs[2]]).await.unwrap();
    let statuses = async || {
        let mut statuses = Vec::new();
        for job in &jobs {
            statuses.push(scene.status(*job).await);
        }
        statuses
    };

    // The jobs of all versions count; as many go as have to, whether they wait or run.
    let document = a_pipeline("p").steps(1);
    let document = document.at_limit(2, OnLimit::CancelOldest).build();
    let newer = scene.put(document).await;
    let mut new = new_job(&newer);
    new.idempotency_key = Some("k".into());
    let (mut again, new) = (new.clone(), scene.submit(new).await);
    let gone = [
        JobStatus::Cancelled,
        JobStatus::Running,
        JobStatus::Cancelled,
        JobStatus::Pending,
    ];
    assert_eq!(statuses().await, gone);
    assert_eq!(scene.renew(lease, LONG).await, LeaseState::Cancel);
    let reason = scene.record(jobs[0]).await.cancel_requested.unwrap();
    assert!(reason.contains(&new.to_string()), "{reason}");
    assert_eq!(scene.status(new).await, JobStatus::Pending);

    // A job that is there already takes nobody's place.
    again.id = new_job(&newer).id;
    let answer = scene.store.submit(again).await.unwrap();
    assert_eq!(answer, Submitted::Existing(new));
    assert_eq!(statuses().await, gone);
    let newest = scene.submit(new_job(&newer)).await;
    assert_eq!(statuses().await[3], JobStatus::Cancelled);
    for job in [new, newest, other] {
        assert_eq!(scene.status(job).await, JobStatus::Pending);
    }
}

pub(super) async fn racing_jobs_over_the_limit_leave_as_many_as_it_says(
    fixture: &dyn StoreFixture,
) {
    for on_limit in [OnLimit::Skip, OnLimit::CancelOldest] {
        let scene = Scene::on(fixture).await;
        let document = a_pipeline("p").steps(1).at_limit(3, on_limit).build();
        let pipeline = scene.put(document).await;
        let mut racers = tokio::task::JoinSet::new();
        for _ in 0..3 * scene.facts.racers {
            let (store, job) = (scene.store.clone(), new_job(&pipeline));
            racers.spawn(async move { store.submit(job).await.unwrap() });
        }
        let mut left = 0;
        for submitted in racers.join_all().await {
            let Submitted::New(job) = submitted else {
                panic!("{submitted:?}");
            };
            left += usize::from(scene.status(job).await == JobStatus::Pending);
        }
        assert_eq!(left, 3, "{on_limit:?}");
    }
}

pub(super) async fn jobs_that_wait_are_told_by_age_and_order(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let age = Duration::from_millis(300);
    let mut jobs = Vec::new();
    for priority in [3, 8, 3] {
        let mut job = new_job(&pipeline);
        job.priority = priority;
        jobs.push(scene.submit(job).await);
    }
    let waiting = async |older_than, limit| -> Vec<Hint> {
        scene.store.waiting(older_than, limit).await.unwrap()
    };
    let hint = |job, priority| Hint { job, priority };

    assert_eq!(waiting(age, 9).await, []);
    scene.pass(age).await;
    let mut young = new_job(&pipeline);
    young.priority = 9;
    let young = scene.submit(young).await;
    let old = [hint(jobs[1], 8), hint(jobs[0], 3), hint(jobs[2], 3)];
    assert_eq!(waiting(age, 9).await, old);
    assert_eq!(waiting(age, 2).await, old[..2]);
    assert_eq!(waiting(Duration::ZERO, 1).await, [hint(young, 9)]);
    scene.store.dispatched(&[jobs[1]]).await.unwrap();
    assert_eq!(waiting(age, 9).await, old[1..]);
}

pub(super) async fn dispatched_moves_pending_jobs_and_no_other(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(scene.submit(new_job(&pipeline)).await);
    }
    let unknown = new_job(&pipeline).id;
    scene.claim(jobs[1], LONG).await;
    scene.store.cancel(jobs[2], "").await.unwrap();

    for _ in 0..2 {
        let jobs = [jobs[0], jobs[1], jobs[2], unknown];
        scene.store.dispatched(&jobs).await.unwrap();
    }
    let mut now = Vec::new();
    for job in jobs {
        now.push(scene.status(job).await);
    }
    let expected = [
        JobStatus::Queued,
        JobStatus::Running,
        JobStatus::Cancelled,
        JobStatus::Pending,
    ];
    assert_eq!(now, expected);
    assert_eq!(scene.store.job(unknown).await.unwrap(), None);
}
