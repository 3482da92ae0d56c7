//! Laws of forgetting.

use std::time::Duration;

use serde_json::Map;

use super::StoreFixture;
use super::scene::{LONG, Scene};
use crate::contract::store::{SettledHook, StoredPipeline, Submitted};
use crate::model::{
    Change, DeadLetter, ErrorClass, HookRow, HookTarget, JobFilter, JobId, JobStatus, LogLevel,
    LogLine, NewJob, PageRequest, StepKey, StepStatus,
};
use crate::testing::build::{ends, moves};
use crate::testing::{a_pipeline, new_job};

/// Long enough for a store with a clock of its own to see that time has passed.
const WHILE: Duration = Duration::from_millis(5);

/// A job that has ended, and these changes with its end.
async fn ended(scene: &Scene, job: NewJob, more: Vec<Change>) -> JobId {
    let job = scene.submit(job).await;
    let lease = scene.claim(job, LONG).await.lease;
    let mut changes = vec![
        moves(StepKey::step(0), StepStatus::Running),
        moves(StepKey::step(0), StepStatus::Failed),
    ];
    changes.extend(more);
    changes.push(ends(JobStatus::Failed));
    scene.commit(lease, 1, changes).await;
    job
}

async fn a_pipeline_of_one(scene: &Scene) -> StoredPipeline {
    scene.put(a_pipeline("p").step("a").build()).await
}

fn starts(pipeline: &StoredPipeline, position: u32) -> Change {
    Change::Hook(HookRow {
        position,
        target: HookTarget::TriggerPipeline {
            name: "next".into(),
            parameters: Map::new(),
            after: pipeline.reference.clone(),
        },
    })
}

async fn expired(scene: &Scene, older_than: Duration) -> Vec<JobId> {
    let page = PageRequest::first(500);
    let page = scene.store.expired_jobs(older_than, &page).await.unwrap();
    assert_eq!(page.next_cursor, None);
    page.items
}

async fn settle(scene: &Scene, job: JobId, position: u32) {
    let settled = SettledHook {
        job,
        position,
        error: None,
    };
    scene.store.settle_hook(settled).await.unwrap();
}

pub(super) async fn a_job_is_forgotten_with_all_that_is_its(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = a_pipeline_of_one(&scene).await;
    let mut new = new_job(&pipeline);
    new.idempotency_key = Some("once".into());
    let letter = Change::Bury(DeadLetter {
        key: StepKey::step(0),
        step_name: "a".into(),
        attempts: 1,
        error_class: ErrorClass::Permanent,
        error: "no".into(),
    });
    let job = ended(&scene, new.clone(), vec![letter, starts(&pipeline, 0)]).await;
    settle(&scene, job, 0).await;
    let line = LogLine {
        job_id: job,
        seq: 0,
        step: None,
        item_index: None,
        attempt: 0,
        timestamp: scene.now(),
        level: LogLevel::Info,
        message: "m".into(),
        metadata: Map::new(),
    };
    // More than a store that deletes lines a few at a time takes at once.
    scene.store.append(&vec![line; 2_500]).await.unwrap();
    let other = ended(&scene, new_job(&pipeline), Vec::new()).await;
    scene.pass(WHILE).await;

    assert_eq!(expired(&scene, Duration::ZERO).await, [job, other]);
    assert_eq!(scene.store.forget_jobs(&[job]).await.unwrap(), 1);
    assert_eq!(scene.store.forget_jobs(&[job]).await.unwrap(), 0);
    let scene = scene.restart(fixture).await;
    assert_eq!(scene.store.job(job).await.unwrap(), None);
    assert_eq!(scene.steps(job).await, []);
    assert_eq!(scene.store.lines(job, 0, 9).await.unwrap(), []);
    assert_eq!(scene.store.dead_letters(job).await.unwrap(), []);
    assert_eq!(scene.store.hooks(job).await.unwrap(), []);
    let (filter, page) = (JobFilter::default(), PageRequest::first(9));
    let listed = scene.store.jobs(&filter, &page).await.unwrap().items;
    let listed: Vec<JobId> = listed.iter().map(|job| job.id).collect();
    assert_eq!(listed, [other], "others stay");
    assert_eq!(scene.steps(other).await.len(), 1);
    let again = scene.store.submit(new).await.unwrap();
    assert_eq!(again, Submitted::New(job), "its key is free");
}

pub(super) async fn a_job_that_has_not_ended_is_not_forgotten(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = a_pipeline_of_one(&scene).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(scene.submit(new_job(&pipeline)).await);
    }
    scene.store.dispatched(&jobs[1..]).await.unwrap();
    scene.claim(jobs[2], LONG).await;
    scene.pass(WHILE).await;
    assert_eq!(expired(&scene, Duration::ZERO).await, []);
    assert_eq!(scene.store.forget_jobs(&jobs).await.unwrap(), 0);
    let states = [JobStatus::Pending, JobStatus::Queued, JobStatus::Running];
    for (job, status) in jobs.into_iter().zip(states) {
        assert_eq!(scene.status(job).await, status);
    }
}

pub(super) async fn a_job_is_kept_while_hooks_wait_or_another_repeats_it(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let pipeline = a_pipeline_of_one(&scene).await;
    let webhook = Change::Hook(HookRow {
        position: 1,
        target: HookTarget::Webhook {
            url: "https://example.org/hook".into(),
            credential: None,
        },
    });
    let hooks = vec![starts(&pipeline, 0), webhook];
    let job = ended(&scene, new_job(&pipeline), hooks).await;
    let is_kept = async || {
        scene.pass(WHILE).await;
        let listed = expired(&scene, Duration::ZERO).await;
        !listed.contains(&job) && scene.store.forget_jobs(&[job]).await.unwrap() == 0
    };
    assert!(is_kept().await);
    settle(&scene, job, 0).await;
    assert!(is_kept().await, "a webhook waits");
    let mut repeat = new_job(&pipeline);
    repeat.retry_of = Some(job);
    let repeat = scene.submit(repeat).await;
    settle(&scene, job, 1).await;
    assert!(is_kept().await, "another repeats it");
    scene.store.cancel(repeat, "enough").await.unwrap();
    assert!(is_kept().await, "it has ended, and is known");
    assert_eq!(scene.store.forget_jobs(&[repeat]).await.unwrap(), 1);
    assert_eq!(expired(&scene, Duration::ZERO).await, [job]);
    assert_eq!(scene.store.forget_jobs(&[job]).await.unwrap(), 1);
}

pub(super) async fn expired_jobs_are_listed_oldest_first_in_pages(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = a_pipeline_of_one(&scene).await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(ended(&scene, new_job(&pipeline), Vec::new()).await);
        scene.pass(WHILE).await;
    }
    let mut page = PageRequest::first(2);
    let mut listed = Vec::new();
    loop {
        let answer = scene.store.expired_jobs(Duration::ZERO, &page).await;
        let answer = answer.unwrap();
        assert!(answer.items.len() <= 2);
        listed.extend(answer.items);
        match answer.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(listed, jobs);
    assert_eq!(expired(&scene, LONG).await, [], "not yet");
    if scene.facts.follows_clock {
        assert_eq!(expired(&scene, WHILE * 2).await, jobs[..4]);
        // Accepted long ago and ended just now.
        let late = scene.submit(new_job(&pipeline)).await;
        scene.pass(LONG).await;
        scene.store.cancel(late, "late").await.unwrap();
        assert_eq!(expired(&scene, LONG).await, jobs);
    }
    assert_eq!(
        scene.store.forget_jobs(&jobs).await.unwrap(),
        5,
        "all at once"
    );
}

pub(super) async fn logs_wait_to_be_archived_from_the_end_of_their_job_on(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let pipeline = a_pipeline_of_one(&scene).await;
    let open = scene.submit(new_job(&pipeline)).await;
    let running = scene.submit(new_job(&pipeline)).await;
    scene.claim(running, LONG).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        scene.clock.advance(WHILE);
        jobs.push(ended(&scene, new_job(&pipeline), Vec::new()).await);
    }
    scene.clock.advance(WHILE);
    let waiting = async |scene: &Scene, limit| {
        let waiting = scene.store.unarchived_logs(Duration::ZERO, limit).await;
        waiting.unwrap()
    };
    for limit in [0, 2, 9] {
        assert_eq!(waiting(&scene, limit).await, jobs[..limit.min(3)]);
    }
    if scene.facts.follows_clock {
        let old = scene.store.unarchived_logs(WHILE * 2, 9).await.unwrap();
        assert_eq!(old, jobs[..2]);
    }
    // What has not ended, or is not known, is left alone.
    for job in [open, JobId(uuid::Uuid::nil()), jobs[0]] {
        scene.store.log_archived(job, None).await.unwrap();
    }
    let error = Some("its lines can't be read\0");
    scene.store.log_archived(jobs[1], error).await.unwrap();
    scene.store.log_archived(jobs[1], None).await.unwrap();
    scene.store.cancel(open, "enough").await.unwrap();
    let scene = scene.restart(fixture).await;
    assert_eq!(waiting(&scene, 9).await, [jobs[2], open]);
    assert_eq!(scene.store.forget_jobs(&[open]).await.unwrap(), 1);
    assert_eq!(waiting(&scene, 9).await, jobs[2..]);
}
