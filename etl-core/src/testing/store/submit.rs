//! Laws of `submit`, `waiting` and `dispatched`.

use serde_json::json;

use super::StoreFixture;
use super::scene::Scene;
use crate::contract::store::Submitted;
use crate::model::{Fence, JobStatus, StepStatus};
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
