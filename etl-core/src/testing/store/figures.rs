//! Laws of figures.

use super::StoreFixture;
use super::scene::{LONG, Scene};
use crate::model::JobStatus;
use crate::testing::build::ends;
use crate::testing::{a_pipeline, new_job};

pub(super) async fn the_backlog_is_the_jobs_that_wait_up_to_a_number(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let backlog = async |most| scene.store.backlog(most).await.unwrap();
    assert_eq!(backlog(10).await, 0);
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(scene.submit(new_job(&pipeline)).await);
    }
    scene.store.dispatched(&jobs[..2]).await.unwrap();
    assert_eq!(backlog(10).await, 4);
    assert_eq!(backlog(3).await, 3);
    let lease = scene.claim(jobs[0], LONG).await.lease;
    assert_eq!(backlog(10).await, 3);
    scene.commit(lease, 1, vec![ends(JobStatus::Pending)]).await;
    assert_eq!(backlog(10).await, 4);
    scene.store.cancel(jobs[3], "enough").await.unwrap();
    assert_eq!(backlog(10).await, 3);
}
