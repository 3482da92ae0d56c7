//! Laws of `claim`.

use super::StoreFixture;
use super::scene::{SHORT, Scene};
use crate::model::Fence;
use crate::testing::{a_pipeline, new_job};

pub(super) async fn a_claim_gives_a_larger_fence(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let mut last = Fence(0);
    for _ in 0..3 {
        let claimed = scene.claim(job, SHORT).await;
        assert!(claimed.lease.fence > last);
        assert_eq!(claimed.lease.job, job);
        assert_eq!(scene.record(job).await.fence, claimed.lease.fence);
        last = claimed.lease.fence;
        scene.let_leases_end().await;
        assert_eq!(scene.reap().await, [job]);
    }
}

pub(super) async fn the_highest_priority_comes_first_then_the_oldest(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let mut jobs = Vec::new();
    for priority in [5, 9, 0, 9, 5] {
        let mut job = new_job(&pipeline);
        job.priority = priority;
        jobs.push(scene.submit(job).await);
    }
    // A queued job stands where it stood as a pending one.
    scene.store.dispatched(&[jobs[3], jobs[4]]).await.unwrap();

    let mut claimed = Vec::new();
    for limit in [0, 1, 3, 9] {
        claimed.extend(scene.claim_any(limit).await);
    }
    assert_eq!(claimed, [jobs[1], jobs[3], jobs[0], jobs[4], jobs[2]]);
}
