//! Laws of calls whose outcome is unknown: sending them again does no harm.

use std::sync::Arc;

use serde_json::json;

use super::StoreFixture;
use super::scene::{LONG, Scene, all_steps};
use crate::contract::store::{JobStore as _, Result, Submitted};
use crate::contract::{Store, StoreErrorKind};
use crate::model::{Change, Commit, JobId, JobStatus, LeaseRef, StepKey, StepStatus, Verdict};
use crate::testing::build::{ends, moves, succeeds};
use crate::testing::faults::{Fault, Flaky};
use crate::testing::{a_pipeline, new_job};

/// The answer, or `None` if the call has to be made again, as the runtime does.
fn answer<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(answer) => Some(answer),
        Err(fault) => {
            let again = [StoreErrorKind::Unavailable, StoreErrorKind::OutcomeUnknown];
            assert!(again.contains(&fault.kind), "{fault}");
            None
        }
    }
}

/// The life of a job of three steps, as commits of one lease.
fn life(scene: &Scene, lease: LeaseRef) -> Vec<Commit> {
    let key = StepKey::step;
    let changes: [Vec<Change>; 6] = [
        vec![moves(key(0), StepStatus::Running)],
        vec![
            Change::Checkpoint {
                key: key(0),
                seq: 1,
                state: json!({"at": 1}),
            },
            succeeds(key(0), json!("one")),
            Change::Expand {
                step: 1,
                items: vec![json!("x")],
            },
        ],
        vec![moves(StepKey::item(1, 0), StepStatus::Running)],
        vec![
            succeeds(StepKey::item(1, 0), json!("item")),
            succeeds(key(1), json!([1])),
        ],
        vec![
            moves(key(2), StepStatus::Failed),
            Change::Bury(super::change::letter(key(2))),
        ],
        vec![ends(JobStatus::Failed)],
    ];
    (1..)
        .zip(changes)
        .map(|(seq, changes)| scene.commit_of(lease, seq, changes))
        .collect()
}

pub(super) async fn a_commit_whose_answer_was_lost_is_already_applied(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(3).await;
    for commit in life(&scene, lease) {
        let flaky = Flaky::by_plan(scene.store.clone(), [Fault::Unknown]);
        let batch = [commit];
        let fault = flaky.commit(&batch).await.expect_err("the answer is lost");
        assert_eq!(fault.kind, StoreErrorKind::OutcomeUnknown);
        let again = flaky.commit(&batch).await.unwrap();
        assert_eq!(again, [Verdict::AlreadyApplied]);
    }
    assert_eq!(scene.status(lease.job).await, JobStatus::Failed);
}

pub(super) async fn a_job_over_a_failing_store_ends_as_over_a_good_one(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(3).build()).await;
    let straight = scene.submit(new_job(&pipeline)).await;
    let lease = scene.claim(straight, LONG).await.lease;
    for commit in life(&scene, lease) {
        let verdicts = scene.store.commit(&[commit]).await.unwrap();
        assert_eq!(verdicts, [Verdict::Applied]);
    }
    let expected = story(&scene.store, straight).await;

    for seed in 0..10 {
        let flaky = Flaky::by_seed(scene.store.clone(), seed);
        let job = new_job(&pipeline);
        let id = job.id;
        let submitted = loop {
            if let Some(submitted) = answer(flaky.submit(job.clone()).await) {
                break submitted;
            }
        };
        assert!(matches!(submitted, Submitted::New(job) | Submitted::Existing(job) if job == id));
        let lease = scene.claim(id, LONG).await.lease;
        for commit in life(&scene, lease) {
            let batch = [commit];
            let verdicts = loop {
                if let Some(verdicts) = answer(flaky.commit(&batch).await) {
                    break verdicts;
                }
            };
            assert!(
                matches!(verdicts[..], [Verdict::Applied | Verdict::AlreadyApplied]),
                "seed {seed}: {verdicts:?}"
            );
        }
        assert_eq!(story(flaky.inner(), id).await, expected, "seed {seed}");
    }
}

/// What became of a job, without what differs between jobs.
async fn story(store: &Arc<dyn Store>, job: JobId) -> String {
    let record = store.job(job).await.unwrap().unwrap();
    let letters = store.dead_letters(job).await.unwrap();
    let mut told = vec![format!("{} {:?} {letters:?}", record.status, record.fence)];
    told.extend(all_steps(&**store, job).await.iter().map(|step| {
        let key = (step.order_index, step.item_index);
        format!(
            "{key:?} {} {} {}",
            step.status, step.attempt, step.output_data
        )
    }));
    told.join("\n")
}
