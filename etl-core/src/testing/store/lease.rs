//! Laws of `renew`, and of handing a job back.

use std::time::Duration;

use serde_json::json;

use super::StoreFixture;
use super::scene::{LONG, SHORT, Scene};
use crate::contract::store::LeaseState;
use crate::model::{Fence, JobStatus, LeaseRef, StepKey, StepStatus, Verdict};
use crate::testing::build::{a_worker, ends, moves, succeeds};
use crate::testing::{a_pipeline, new_job};

pub(super) async fn a_renewed_lease_is_not_reaped(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let lease = scene.claim(job, SHORT).await.lease;
    assert_eq!(scene.renew(lease, LONG).await, LeaseState::Held);
    let end = scene.now() + LONG;
    scene.assert_time(scene.record(job).await.lease_expires_at, end);

    scene.let_leases_end().await;
    assert_eq!(scene.reap().await, []);
    assert_eq!(scene.status(job).await, JobStatus::Running);
    // A shorter one counts from now too.
    assert_eq!(scene.renew(lease, SHORT).await, LeaseState::Held);
    scene.let_leases_end().await;
    assert_eq!(scene.reap().await, [job]);
}

pub(super) async fn a_lease_that_ran_out_untaken_is_as_good_as_any(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let lease = scene.claim(job, SHORT).await.lease;
    scene.let_leases_end().await;
    let running = vec![moves(StepKey::step(0), StepStatus::Running)];
    scene.commit(lease, 1, running).await;
    assert_eq!(scene.renew(lease, LONG).await, LeaseState::Held);
    assert_eq!(scene.reap().await, []);
}

pub(super) async fn a_lease_that_was_taken_is_lost(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let old = scene.claim(job, SHORT).await.lease;
    scene.let_leases_end().await;
    scene.reap().await;
    assert_eq!(scene.renew(old, LONG).await, LeaseState::Lost);
    assert_eq!(scene.record(job).await.lease_expires_at, None);

    let new = scene.claim(job, SHORT).await;
    assert_eq!(scene.renew(old, LONG).await, LeaseState::Lost);
    let end = scene.record(job).await.lease_expires_at;
    assert_eq!(end, Some(new.expires_at));
    let skipped = moves(StepKey::step(0), StepStatus::Skipped);
    scene
        .commit(new.lease, 1, vec![skipped, ends(JobStatus::Success)])
        .await;
    assert_eq!(scene.renew(new.lease, LONG).await, LeaseState::Lost);
}

pub(super) async fn a_lease_is_of_the_worker_that_claimed_it(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let claimed = scene.claim(job, SHORT).await;
    let answer = scene.store.renew(a_worker(), &[claimed.lease], LONG).await;
    assert_eq!(answer.unwrap(), [LeaseState::Lost]);
    let end = scene.record(job).await.lease_expires_at;
    assert_eq!(end, Some(claimed.expires_at));
}

pub(super) async fn leases_are_answered_in_the_order_asked(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let mut leases = Vec::new();
    for _ in 0..3 {
        let job = scene.submit(new_job(&pipeline)).await;
        leases.push(scene.claim(job, LONG).await.lease);
    }
    scene.store.cancel(leases[1].job, "enough").await.unwrap();
    let unknown = LeaseRef {
        job: new_job(&pipeline).id,
        fence: Fence(1),
    };
    let stale = LeaseRef {
        fence: Fence(0),
        ..leases[0]
    };

    let asked = [leases[1], unknown, leases[2], stale, leases[0], leases[1]];
    let answer = scene.store.renew(scene.worker, &asked, LONG).await.unwrap();
    let expected = [
        LeaseState::Cancel,
        LeaseState::Lost,
        LeaseState::Held,
        LeaseState::Lost,
        LeaseState::Held,
        LeaseState::Cancel,
    ];
    assert_eq!(answer, expected);
    let none = scene.store.renew(scene.worker, &[], LONG).await.unwrap();
    assert_eq!(none, []);
}

pub(super) async fn a_job_that_its_owner_hands_back_waits_as_it_is(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(3).await;
    let done = vec![
        moves(StepKey::step(0), StepStatus::Running),
        succeeds(StepKey::step(0), json!(1)),
        moves(StepKey::step(1), StepStatus::Running),
    ];
    scene.commit(lease, 1, done).await;
    scene.pass(Duration::from_millis(300)).await;
    let before = scene.steps(lease.job).await;
    scene.commit(lease, 2, vec![ends(JobStatus::Pending)]).await;

    let record = scene.record(lease.job).await;
    assert_eq!(record.status, JobStatus::Pending);
    assert_eq!(record.worker_id, Some(scene.worker));
    assert_eq!((record.lease_expires_at, record.completed_at), (None, None));
    assert!(record.started_at.is_some());
    assert_eq!(scene.steps(lease.job).await, before);
    assert_eq!(scene.renew(lease, LONG).await, LeaseState::Lost);
    let late = vec![moves(StepKey::step(2), StepStatus::Running)];
    let verdict = scene.try_commit(lease, 3, late).await.unwrap();
    let pending = JobStatus::Pending;
    assert_eq!(verdict, Verdict::Lost { now: pending });

    // It waits since it was handed back, not since it was accepted.
    let waiting = async |age| scene.store.waiting(age, 9).await.unwrap().len();
    assert_eq!(waiting(Duration::from_millis(250)).await, 0);
    assert_eq!(waiting(Duration::ZERO).await, 1);
    let snapshot = scene.claim(lease.job, LONG).await.job;
    let statuses: Vec<_> = snapshot.steps.iter().map(|step| step.status).collect();
    assert_eq!(statuses, [StepStatus::Success, StepStatus::Running]);
}
