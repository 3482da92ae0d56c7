//! Laws of figures.

use std::time::Duration;

use super::StoreFixture;
use super::scene::{LONG, Scene};
use crate::contract::store::StoredPipeline;
use crate::model::{
    Change, ErrorClass, JobFigures, JobFilter, JobStatus, PageRequest, StepFigures, StepKey,
    StepPatch, StepStatus, Timestamp,
};
use crate::testing::build::{ends, moves, moves_with};
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

/// Runs a one-step job: what it handled, how long it took, and how it ended.
async fn a_job(scene: &Scene, pipeline: &StoredPipeline, rows: u64, ms: u64, to: StepStatus) {
    let job = scene.submit(new_job(pipeline)).await;
    let lease = scene.claim(job, LONG).await.lease;
    let step = StepKey::step(0);
    scene
        .commit(lease, 1, vec![moves(step, StepStatus::Running)])
        .await;
    scene.pass(Duration::from_millis(ms)).await;
    let is_failure = to == StepStatus::Failed;
    let patch = StepPatch {
        rows_processed: Some(rows),
        bytes_transferred: Some(rows * 10),
        error_class: is_failure.then_some(ErrorClass::Auth),
        error: is_failure.then(|| "no".into()),
        ..StepPatch::default()
    };
    let end = Change::Job {
        to: if is_failure {
            JobStatus::Failed
        } else {
            JobStatus::Success
        },
        error: None,
        error_stack: None,
        rows_processed: rows,
        bytes_transferred: rows * 10,
    };
    scene
        .commit(lease, 2, vec![moves_with(step, to, patch), end])
        .await;
}

pub(super) async fn jobs_and_steps_are_counted_from_a_time_on(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let p = scene.put(a_pipeline("p").step("a").build()).await;
    let q = scene.put(a_pipeline("q").step("a").build()).await;
    let all = async |pipeline, from| scene.store.job_figures(pipeline, from).await.unwrap();
    let connector = p.document.steps[0].connector_type.clone();
    let steps = async |name: &str, from| scene.store.step_figures(name, from).await.unwrap();
    let ever = Timestamp::from_micros(0);
    assert_eq!(all(None, ever).await, JobFigures::default());
    assert_eq!(steps(&connector, ever).await, StepFigures::default());

    a_job(&scene, &p, 5, 20, StepStatus::Success).await;
    scene.pass(Duration::from_millis(20)).await;
    let later = scene.now();
    let (filter, page) = (JobFilter::default(), PageRequest::first(1));
    let jobs = scene.store.jobs(&filter, &page).await.unwrap();
    let before = jobs.items[0].created_at;
    a_job(&scene, &p, 7, 40, StepStatus::Failed).await;
    a_job(&scene, &q, 1, 20, StepStatus::Success).await;
    scene.submit(new_job(&q)).await;

    let figures = all(None, ever).await;
    let counts: Vec<_> = figures.by_status().into_iter().collect();
    assert_eq!(
        counts,
        [
            (JobStatus::Pending, 1),
            (JobStatus::Success, 2),
            (JobStatus::Failed, 1)
        ]
    );
    assert_eq!(
        (figures.rows_processed, figures.bytes_transferred),
        (13, 130)
    );
    assert_eq!(
        figures.errors.into_iter().collect::<Vec<_>>(),
        [("auth".to_owned(), 1)]
    );
    let hour = figures.hours[0].hour;
    assert!(
        hour <= before && before < hour + Duration::from_hours(1),
        "{hour}"
    );

    let of_q = all(Some(q.reference.id), ever).await;
    assert_eq!((of_q.rows_processed, of_q.errors.len()), (1, 0));
    if scene.facts.follows_clock {
        let took = figures.durations;
        assert_eq!(
            (took.duration_p50_ms, took.duration_p95_ms),
            (Some(20), Some(40))
        );
        let took = steps(&connector, ever).await.durations;
        assert_eq!(
            (took.duration_p50_ms, took.duration_p95_ms),
            (Some(20), Some(40))
        );
        let since = all(Some(p.reference.id), later).await;
        assert_eq!(
            since.by_status().into_iter().collect::<Vec<_>>(),
            [(JobStatus::Failed, 1)]
        );
    }
    let of_steps = steps(&connector, ever).await;
    assert_eq!((of_steps.attempts, of_steps.rows_processed), (3, 13));
    assert_eq!(of_steps.by_status[&StepStatus::Pending], 1);
    assert_eq!(of_steps.by_status[&StepStatus::Failed], 1);
    assert_eq!(of_steps.errors["auth"], 1);
    assert_eq!(steps("nothing", ever).await, StepFigures::default());
}
