//! Laws of `reap`.

use std::time::Duration;

use super::StoreFixture;
use super::cancel::{assert_open_steps_ended, one_step_of_each_kind};
use super::scene::{LONG, SHORT, Scene};
use crate::contract::store::{LeaseState, ReapRequest};
use crate::model::{JobStatus, StepKey, StepStatus, Verdict};
use crate::testing::build::{a_worker, ends, moves};
use crate::testing::{a_pipeline, new_job};

pub(super) async fn a_job_whose_lease_ran_out_waits_again(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(4).await;
    let lease = scene.claim(job, SHORT).await.lease;
    scene.commit(lease, 1, one_step_of_each_kind()).await;
    let steps = scene.steps(job).await;
    assert_eq!(scene.reap().await, []);
    assert_eq!(scene.status(job).await, JobStatus::Running);

    scene.pass(Duration::from_millis(300)).await;
    assert_eq!(scene.reap().await, [job]);
    assert_eq!(scene.reap().await, []);
    let record = scene.record(job).await;
    assert_eq!(record.status, JobStatus::Pending);
    assert_eq!((record.lease_expires_at, record.completed_at), (None, None));
    assert_eq!(record.worker_id, Some(scene.worker));
    assert_eq!(record.fence, lease.fence);
    assert_eq!(scene.steps(job).await, steps);
    let waiting = async |age| scene.store.waiting(age, 9).await.unwrap().len();
    assert_eq!(waiting(Duration::from_millis(250)).await, 0);
    assert_eq!(waiting(Duration::ZERO).await, 1);
}

pub(super) async fn a_job_whose_end_was_asked_for_is_never_revived(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(4).await;
    let lease = scene.claim(job, SHORT).await.lease;
    scene.commit(lease, 1, one_step_of_each_kind()).await;
    scene.store.cancel(job, "stop it").await.unwrap();
    scene.let_leases_end().await;
    assert_eq!(scene.reap().await, [job]);

    let record = scene.record(job).await;
    assert_eq!(record.status, JobStatus::Cancelled);
    assert_eq!(record.cancel_requested.as_deref(), Some("stop it"));
    assert_eq!(record.lease_expires_at, None);
    scene.assert_time(record.completed_at, scene.now());
    assert_open_steps_ended(&scene, job).await;
    assert_eq!(scene.try_claim(job, LONG).await, None);
    assert_eq!(scene.renew(lease, LONG).await, LeaseState::Lost);
    let late = vec![moves(StepKey::step(3), StepStatus::Running)];
    let verdict = scene.try_commit(lease, 2, late).await.unwrap();
    let now = JobStatus::Cancelled;
    assert_eq!(verdict, Verdict::Lost { now });
}

pub(super) async fn an_ended_job_is_not_reaped(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let lease = scene.claim(job, SHORT).await.lease;
    let skipped = moves(StepKey::step(0), StepStatus::Skipped);
    scene
        .commit(lease, 1, vec![skipped, ends(JobStatus::Success)])
        .await;
    scene.let_leases_end().await;
    assert_eq!(scene.reap().await, []);
    assert_eq!(scene.status(job).await, JobStatus::Success);
}

pub(super) async fn leases_that_ran_out_first_are_reaped_first(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(scene.submit(new_job(&pipeline)).await);
    }
    // The last one accepted is claimed first.
    for job in jobs.iter().rev() {
        scene.claim(*job, SHORT).await;
        scene.pass(Duration::from_millis(10)).await;
    }
    let held = scene.submit(new_job(&pipeline)).await;
    scene.claim(held, LONG).await;
    scene.let_leases_end().await;

    let reap = async |job, limit| {
        let want = ReapRequest { job, limit };
        scene.store.reap(want).await.unwrap()
    };
    assert_eq!(reap(None, 0).await, []);
    assert_eq!(reap(None, 1).await, [jobs[2]]);
    assert_eq!(reap(Some(jobs[0]), 9).await, [jobs[0]]);
    assert_eq!(reap(Some(held), 9).await, []);
    assert_eq!(reap(Some(new_job(&pipeline).id), 9).await, []);
    assert_eq!(reap(None, 9).await, [jobs[1]]);
}

pub(super) async fn racing_reapers_move_a_job_once(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let mut jobs = Vec::new();
    for _ in 0..20 {
        let job = scene.submit(new_job(&pipeline)).await;
        scene.claim(job, SHORT).await;
        jobs.push(job);
    }
    scene.let_leases_end().await;

    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..scene.facts.racers {
        let store = scene.store.clone();
        racers.spawn(async move {
            let want = ReapRequest {
                job: None,
                limit: 100,
            };
            store.reap(want).await.unwrap()
        });
    }
    let mut reaped = racers.join_all().await.concat();
    reaped.extend(scene.reap().await);
    reaped.sort_unstable();
    jobs.sort_unstable();
    assert_eq!(reaped, jobs);
}

pub(super) async fn a_reaper_and_an_owner_that_renews_never_both_win(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let worker = a_worker();
    for _ in 0..10 {
        let job = scene.submit(new_job(&pipeline)).await;
        let want = crate::contract::store::ClaimRequest {
            worker,
            jobs: Some(vec![job]),
            limit: 1,
            ttl: SHORT,
            tags: Vec::new(),
        };
        let lease = scene.store.claim(want).await.unwrap().remove(0).lease;
        scene.let_leases_end().await;
        let store = scene.store.clone();
        let renewal =
            tokio::spawn(async move { store.renew(worker, &[lease], LONG).await.unwrap()[0] });
        let want = ReapRequest {
            job: Some(job),
            limit: 1,
        };
        let reaped = scene.store.reap(want).await.unwrap();
        let renewed = renewal.await.unwrap();
        assert_eq!(renewed == LeaseState::Held, reaped.is_empty());
        let running = scene.status(job).await == JobStatus::Running;
        assert_eq!(running, reaped.is_empty());
    }
}
