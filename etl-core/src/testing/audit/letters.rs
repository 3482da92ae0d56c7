//! Dead letters: how they are listed, and that each is settled once.

use std::time::Duration;

use uuid::Uuid;

use super::{AuditFixture, Scene};
use crate::contract::StoreErrorKind;
use crate::contract::store::{ClaimRequest, PutPipeline, SettleLetter};
use crate::model::{
    By, Change, Commit, Cursor, DeadLetter, ErrorClass, JobId, JobStatus, LetterFilter,
    LetterRecord, LetterStatus, PageRequest, PipelineId, StepKey, StepStatus,
};
use crate::testing::build::{a_worker, ends, moves};
use crate::testing::{a_pipeline, new_job};

/// A job of this pipeline whose steps failed for good, all of them.
async fn a_failed_job(scene: &Scene, name: &str, steps: u32) -> (PipelineId, JobId) {
    let put = PutPipeline {
        document: a_pipeline(name).steps(steps as usize).build(),
        expected_version: None,
        by: By::system(),
    };
    let id = scene.store.put_pipeline(put).await.unwrap().id;
    let stored = scene.store.pipeline("default", name, None).await.unwrap();
    let new = new_job(&stored.unwrap());
    let job = new.id;
    scene.store.submit(new).await.unwrap();
    let want = ClaimRequest {
        worker: a_worker(),
        jobs: Some(vec![job]),
        limit: 1,
        ttl: Duration::from_hours(1),
        tags: Vec::new(),
    };
    let lease = scene.store.claim(want).await.unwrap()[0].lease;
    let keys = (0..steps).map(StepKey::step);
    let mut changes: Vec<Change> = keys
        .flat_map(|key| {
            let letter = DeadLetter {
                key,
                step_name: format!("s{}", key.step),
                attempts: 4,
                error_class: ErrorClass::Transient,
                error: "no route to host".into(),
            };
            [moves(key, StepStatus::Failed), Change::Bury(letter)]
        })
        .collect();
    changes.push(ends(JobStatus::Failed));
    let commit = Commit {
        lease,
        seq: 1,
        at: crate::contract::Clock::now(&*scene.clock),
        changes,
        lines: Vec::new(),
    };
    scene.store.commit(&[commit]).await.unwrap();
    (id, job)
}

async fn all(scene: &Scene, filter: &LetterFilter) -> Vec<LetterRecord> {
    let page = PageRequest::first(500);
    scene.store.letters(filter, &page).await.unwrap().items
}

fn discard(id: Uuid) -> SettleLetter {
    SettleLetter {
        id,
        by: By("ana".into()),
        retry: None,
    }
}

pub(super) async fn letters_are_listed_newest_first_in_pages_by_what_they_are_about(
    fixture: &dyn AuditFixture,
) {
    let scene = Scene::on(fixture).await;
    let (first, job) = a_failed_job(&scene, "first", 3).await;
    scene.clock.advance(Duration::from_secs(1));
    let (second, later) = a_failed_job(&scene, "second", 2).await;
    let everything = all(&scene, &LetterFilter::default()).await;
    assert_eq!(everything.len(), 5);
    assert!(everything.is_sorted_by_key(|row| std::cmp::Reverse((row.created_at, row.id))));
    assert_eq!(everything[0].job_id, later);
    let step = StepKey::step(1);
    let letter = scene.store.letter(step.execution_id(job)).await.unwrap();
    let letter = letter.unwrap();
    let expected = LetterRecord {
        id: step.execution_id(job),
        job_id: job,
        pipeline_id: first,
        namespace: "default".into(),
        pipeline: "first".into(),
        step_name: "s1".into(),
        order_index: 1,
        item_index: None,
        attempts: 4,
        error_class: ErrorClass::Transient,
        error_message: "no route to host".into(),
        status: LetterStatus::Open,
        created_at: letter.created_at,
        settled_at: None,
        settled_by: None,
        retry_job_id: None,
    };
    assert_eq!(letter, expected);
    assert!(everything.contains(&expected));

    let mut page = PageRequest::first(2);
    let mut paged = Vec::new();
    loop {
        let filter = LetterFilter::default();
        let part = scene.store.letters(&filter, &page).await.unwrap();
        assert!(part.items.len() <= 2);
        paged.extend(part.items);
        match part.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(paged, everything);
    page.cursor = Some(Cursor("nowhere".into()));
    let lost = scene.store.letters(&LetterFilter::default(), &page).await;
    assert_eq!(lost.unwrap_err().kind, StoreErrorKind::NotFound);

    assert!(scene.store.settle_letter(discard(letter.id)).await.unwrap());
    for (pipeline, status, count) in [
        (Some(first), None, 3),
        (Some(second), None, 2),
        (Some(PipelineId(Uuid::now_v7())), None, 0),
        (None, Some(LetterStatus::Open), 4),
        (None, Some(LetterStatus::Discarded), 1),
        (Some(first), Some(LetterStatus::Open), 2),
        (Some(second), Some(LetterStatus::Discarded), 0),
    ] {
        let filter = LetterFilter { pipeline, status };
        assert_eq!(all(&scene, &filter).await.len(), count, "{filter:?}");
    }
    let unknown = scene.store.letter(Uuid::now_v7()).await.unwrap();
    assert_eq!(unknown, None);
}

pub(super) async fn requeueing_a_letter_settles_the_open_letters_of_its_job(
    fixture: &dyn AuditFixture,
) {
    let scene = Scene::on(fixture).await;
    let (_, job) = a_failed_job(&scene, "p", 3).await;
    let (_, other) = a_failed_job(&scene, "q", 1).await;
    let ids = [0, 1, 2].map(|step| StepKey::step(step).execution_id(job));
    let retry = JobId(Uuid::now_v7());
    let requeue = |id| SettleLetter {
        id,
        by: By("rui".into()),
        retry: Some(retry),
    };
    let settle = async |settle| scene.store.settle_letter(settle).await.unwrap();
    scene
        .act(async {
            assert!(settle(discard(ids[0])).await);
            assert!(!settle(requeue(ids[0])).await, "discarded is discarded");
            assert!(settle(requeue(ids[1])).await);
            assert!(!settle(requeue(ids[1])).await, "once");
            assert!(!settle(discard(ids[2])).await, "requeued with the other");
            assert!(!settle(discard(Uuid::now_v7())).await, "no letter");
        })
        .await;
    let one = async |id| scene.store.letter(id).await.unwrap().unwrap();
    let found = one(ids[0]).await;
    assert_eq!(found.status, LetterStatus::Discarded);
    assert_eq!(found.settled_by, Some(By("ana".into())));
    assert_eq!(found.retry_job_id, None);
    assert!(found.settled_at.is_some());
    for id in &ids[1..] {
        let found = one(*id).await;
        assert_eq!(found.status, LetterStatus::Requeued);
        assert_eq!(found.settled_by, Some(By("rui".into())));
        assert_eq!(found.retry_job_id, Some(retry));
    }
    let untouched = one(StepKey::step(0).execution_id(other)).await;
    assert_eq!(untouched.status, LetterStatus::Open);
    let noted = scene.actions().await;
    assert_eq!(noted, ["dead_letter.discard", "dead_letter.requeue"]);
}

pub(super) async fn of_many_who_settle_a_letter_one_does(fixture: &dyn AuditFixture) {
    let scene = Scene::on(fixture).await;
    for round in 0..5 {
        let (_, job) = a_failed_job(&scene, &format!("p{round}"), 2).await;
        let mut race = tokio::task::JoinSet::new();
        // Whichever letter of the job they were told of.
        for at in 0..8 {
            let store = scene.store.clone();
            let settle = SettleLetter {
                id: StepKey::step(at % 2).execution_id(job),
                by: By("ana".into()),
                retry: Some(JobId(Uuid::now_v7())),
            };
            race.spawn(async move { store.settle_letter(settle).await.unwrap() });
        }
        let won = race.join_all().await.into_iter().filter(|won| *won);
        assert_eq!(won.count(), 1);
    }
}
