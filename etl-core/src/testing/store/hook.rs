//! Laws of hooks that wait.

use serde_json::{Map, json};

use super::scene::{LONG, Scene};
use super::{Spoil, StoreFixture};
use crate::contract::store::{SettledHook, StoreErrorKind, WaitingHook};
use crate::model::{Change, HookRow, HookTarget, JobId, JobStatus, StepKey, StepStatus};
use crate::testing::build::{ends, moves};
use crate::testing::{a_pipeline, new_job};

/// A job that has ended and left hooks: one to start a job at 0, a webhook at 1, and another to start a job at 2.
async fn a_job_with_hooks(scene: &Scene) -> (JobId, [WaitingHook; 2]) {
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let job = scene.submit(new_job(&pipeline)).await;
    let lease = scene.claim(job, LONG).await.lease;
    let starts = |position| HookRow {
        position,
        target: HookTarget::TriggerPipeline {
            name: format!("next {position}"),
            parameters: Map::from_iter([("n".into(), json!(position))]),
            after: pipeline.reference.clone(),
        },
    };
    let webhook = HookRow {
        position: 1,
        target: HookTarget::Webhook {
            url: "https://example.org/hook".into(),
            credential: None,
        },
    };
    let changes = vec![
        moves(StepKey::step(0), StepStatus::Running),
        moves(StepKey::step(0), StepStatus::Success),
        Change::Hook(starts(2)),
        Change::Hook(webhook),
        Change::Hook(starts(0)),
        ends(JobStatus::Success),
    ];
    scene.commit(lease, 1, changes).await;
    let waiting = [0, 2].map(|position| WaitingHook {
        job,
        hook: starts(position),
    });
    (job, waiting)
}

fn settled(job: JobId, position: u32, error: Option<&str>) -> SettledHook {
    SettledHook {
        job,
        position,
        error: error.map(str::to_owned),
    }
}

pub(super) async fn hooks_wait_oldest_first_until_they_are_settled(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    assert_eq!(scene.store.waiting_hooks(9).await.unwrap(), []);
    let (older, [first, second]) = a_job_with_hooks(&scene).await;
    scene.pass(std::time::Duration::from_millis(5)).await;
    let (newer, [third, fourth]) = a_job_with_hooks(&scene).await;
    let all = [first, second, third.clone(), fourth];
    for limit in [0, 1, 3, 9] {
        let waiting = scene.store.waiting_hooks(limit).await.unwrap();
        assert_eq!(waiting, all[..limit.min(4)]);
    }
    let done = [
        settled(newer, 2, None),
        settled(older, 0, Some("there is no pipeline \"next\"\0")),
        settled(older, 2, None),
    ];
    for settled in done {
        scene.store.settle_hook(settled).await.unwrap();
    }
    // What is settled stays so, over restarts too, and is still there to be read.
    scene
        .store
        .settle_hook(settled(older, 0, None))
        .await
        .unwrap();
    let scene = scene.restart(fixture).await;
    assert_eq!(scene.store.waiting_hooks(9).await.unwrap(), [third]);
    assert_eq!(scene.store.hooks(older).await.unwrap().len(), 3);
}

pub(super) async fn only_hooks_that_are_there_are_settled(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let (job, waiting) = a_job_with_hooks(&scene).await;
    let other = scene.a_job_of(1).await;
    for (job, position) in [(job, 3), (other, 0), (JobId(uuid::Uuid::nil()), 0)] {
        let error = scene.store.settle_hook(settled(job, position, None)).await;
        assert_eq!(error.unwrap_err().kind, StoreErrorKind::NotFound);
    }
    assert_eq!(scene.store.waiting_hooks(9).await.unwrap(), waiting);
}

pub(super) async fn hooks_that_can_not_be_read_take_nobodys_place(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let mut healthy = Vec::new();
    for _ in 0..3 {
        let (job, [_, second]) = a_job_with_hooks(&scene).await;
        if !fixture.spoil(&scene.store, Spoil::Hook(job, 0)).await {
            return;
        }
        healthy.push(second);
        scene.pass(std::time::Duration::from_millis(5)).await;
    }
    for limit in [1, 2, 9] {
        let waiting = scene.store.waiting_hooks(limit).await.unwrap();
        assert!(!waiting.is_empty() && healthy.starts_with(&waiting));
    }
    for hook in &healthy {
        let done = settled(hook.job, 2, None);
        scene.store.settle_hook(done).await.unwrap();
    }
    assert_eq!(scene.store.waiting_hooks(1).await.unwrap(), []);
    // They are not done with: somebody may say what becomes of them.
    let failed = settled(healthy[0].job, 0, Some("it can't be read"));
    scene.store.settle_hook(failed).await.unwrap();
}
