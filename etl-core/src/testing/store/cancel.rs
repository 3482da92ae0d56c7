//! Laws of `cancel`.

use super::StoreFixture;
use super::scene::{LONG, SHORT, Scene};
use crate::contract::StoreErrorKind;
use crate::contract::store::LeaseState;
use crate::model::{JobId, JobStatus, SkipReason, StepKey, StepStatus, Verdict};
use crate::testing::build::{ends, moves};
use crate::testing::{a_pipeline, new_job};

pub(super) async fn a_job_that_waits_is_cancelled_at_once(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(2).build()).await;
    let pending = scene.submit(new_job(&pipeline)).await;
    let queued = scene.submit(new_job(&pipeline)).await;
    scene.store.dispatched(&[queued]).await.unwrap();

    for job in [pending, queued] {
        let now = scene.store.cancel(job, "no longer needed").await.unwrap();
        assert_eq!(now, JobStatus::Cancelled);
        let record = scene.record(job).await;
        assert_eq!(record.status, JobStatus::Cancelled);
        assert_eq!(record.cancel_requested.as_deref(), Some("no longer needed"));
        scene.assert_time(record.completed_at, scene.now());
        assert_eq!((record.started_at, record.duration_ms), (None, None));
        for step in scene.steps(job).await {
            assert_eq!(step.status, StepStatus::Skipped);
            assert_eq!(step.skip_reason, Some(SkipReason::JobEnded));
            assert_eq!(step.completed_at, record.completed_at);
            assert_eq!(step.duration_ms, None);
        }
        assert_eq!(scene.try_claim(job, LONG).await, None);
    }
    assert_eq!(scene.claim_any(9).await, []);
}

pub(super) async fn a_job_that_was_handed_back_ends_with_its_open_steps(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(4).await;
    scene.commit(lease, 1, one_step_of_each_kind()).await;
    scene.commit(lease, 2, vec![ends(JobStatus::Pending)]).await;
    let now = scene.store.cancel(lease.job, "").await.unwrap();
    assert_eq!(now, JobStatus::Cancelled);
    assert_open_steps_ended(&scene, lease.job).await;
}

/// Steps 0 to 2 become running, retrying, success; the others stay pending.
pub(super) fn one_step_of_each_kind() -> Vec<crate::model::Change> {
    let key = StepKey::step;
    vec![
        moves(key(0), StepStatus::Running),
        moves(key(1), StepStatus::Running),
        moves(key(1), StepStatus::Retrying),
        moves(key(2), StepStatus::Running),
        moves(key(2), StepStatus::Success),
    ]
}

/// Asserts what becomes of [`one_step_of_each_kind`] and a fourth when somebody else than the owner ends the job.
pub(super) async fn assert_open_steps_ended(scene: &Scene, job: JobId) {
    let completed_at = scene.record(job).await.completed_at;
    assert!(completed_at.is_some());
    let steps = scene.steps(job).await;
    let ended: Vec<_> = steps
        .iter()
        .map(|step| (step.status, step.skip_reason))
        .collect();
    assert_eq!(
        ended,
        [
            (StepStatus::Cancelled, None),
            (StepStatus::Cancelled, None),
            (StepStatus::Success, None),
            (StepStatus::Skipped, Some(SkipReason::JobEnded)),
        ]
    );
    for step in [&steps[0], &steps[1], &steps[3]] {
        assert_eq!(step.completed_at, completed_at);
        assert_eq!(step.next_run_at, None);
    }
}

pub(super) async fn the_owner_of_a_running_job_is_asked_to_end_it(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(1).await;
    for reason in ["first", "second"] {
        let now = scene.store.cancel(lease.job, reason).await.unwrap();
        assert_eq!(now, JobStatus::Running);
        let record = scene.record(lease.job).await;
        assert_eq!(record.cancel_requested.as_deref(), Some("first"));
        assert_eq!(record.completed_at, None);
    }
    assert_eq!(scene.renew(lease, LONG).await, LeaseState::Cancel);

    let skipped = moves(StepKey::step(0), StepStatus::Skipped);
    scene
        .commit(lease, 1, vec![skipped, ends(JobStatus::Cancelled)])
        .await;
    assert_eq!(scene.status(lease.job).await, JobStatus::Cancelled);
}

pub(super) async fn a_job_whose_end_was_asked_for_ends_when_it_is_handed_back(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(4).await;
    scene.store.cancel(lease.job, "stop it").await.unwrap();
    let mut changes = one_step_of_each_kind();
    changes.push(ends(JobStatus::Pending));
    scene.commit(lease, 1, changes.clone()).await;
    let record = scene.record(lease.job).await;
    assert_eq!(record.status, JobStatus::Cancelled);
    assert_eq!(record.cancel_requested.as_deref(), Some("stop it"));
    scene.assert_time(record.completed_at, scene.now());
    assert_open_steps_ended(&scene, lease.job).await;
    assert_eq!(scene.try_claim(lease.job, SHORT).await, None);
    // Sent again, it is known; a later one is lost.
    let now = JobStatus::Cancelled;
    for (seq, verdict) in [(1, Verdict::AlreadyApplied), (2, Verdict::Lost { now })] {
        let again = scene.try_commit(lease, seq, changes.clone()).await;
        assert_eq!(again.unwrap(), verdict);
    }
}

pub(super) async fn an_ended_job_is_left_alone(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    for &end in JobStatus::ALL.iter().filter(|status| status.is_terminal()) {
        let job = scene.submit(new_job(&pipeline)).await;
        let lease = scene.claim(job, LONG).await.lease;
        let skipped = moves(StepKey::step(0), StepStatus::Skipped);
        scene.commit(lease, 1, vec![skipped, ends(end)]).await;
        let before = (scene.record(job).await, scene.steps(job).await);
        assert_eq!(scene.store.cancel(job, "too late").await.unwrap(), end);
        assert_eq!((scene.record(job).await, scene.steps(job).await), before);
    }
}

pub(super) async fn what_is_not_there_can_not_be_cancelled(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let unknown = new_job(&pipeline).id;
    let fault = scene.store.cancel(unknown, "").await;
    let fault = fault.expect_err("there is no such job");
    assert_eq!(fault.kind, StoreErrorKind::NotFound);
}
