use etl_core::contract::store::{Catalog, JobStore, Journal, StoredPipeline};
use etl_core::model::{By, LogLevel, WorkerId};
use etl_core::testing::build::a_worker;
use etl_core::testing::{ManualClock, a_pipeline, new_job};
use std::path::Path;
use std::time::Duration;

use etl_core::contract::StoreErrorKind;
use etl_store_sql::{Group as _, ROWS, Request as _};
use tokio::sync::oneshot;

use super::*;
use crate::{SqliteStore, open};

async fn store(path: &Path) -> SqliteStore {
    let opened = SqliteStore::open(path, Arc::new(ManualClock::default())).await;
    opened.unwrap()
}

async fn a_stored_pipeline(store: &SqliteStore) -> StoredPipeline {
    let put = PutPipeline {
        document: a_pipeline("p").step("a").build(),
        expected_version: None,
        by: By::system(),
    };
    store.put_pipeline(put).await.unwrap();
    store.pipeline("default", "p", None).await.unwrap().unwrap()
}

fn wants(worker: WorkerId, job: JobId) -> ClaimRequest {
    ClaimRequest {
        worker,
        jobs: Some(vec![job]),
        limit: 1,
        ttl: Duration::from_secs(20),
        tags: Vec::new(),
    }
}

#[tokio::test]
async fn a_job_that_can_not_be_read_does_not_stop_the_others_of_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let store = store(&path).await;
    let pipeline = a_stored_pipeline(&store).await;
    let (good, bad) = (new_job(&pipeline), new_job(&pipeline));
    let ids = (good.id, bad.id);
    store.submit(good).await.unwrap();
    store.submit(bad).await.unwrap();
    let mut shell = open::options(&path).connect().await.unwrap();
    sqlx::query("UPDATE job_executions SET parameters = '{' WHERE id = ?1")
        .bind(ids.1.to_string())
        .execute(&mut shell)
        .await
        .unwrap();

    let worker = a_worker();
    // Both are in the channel before the writer looks.
    let (good, bad) = tokio::join!(
        store.claim(wants(worker, ids.0)),
        store.claim(wants(worker, ids.1))
    );
    assert_eq!(good.unwrap()[0].lease.job, ids.0);
    assert!(bad.unwrap().is_empty(), "it is passed over");
    let other = store.job(ids.0).await.unwrap().unwrap();
    assert_eq!((other.status, other.fence.0), (JobStatus::Running, 1));
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    store(&path).await.close().await;
    let path = open::prepare(&path).unwrap();
    let options = open::options(&path).pragma("max_page_count", "150");
    let clock = Arc::new(ManualClock::default());
    let store = open::serve(&path, options, clock).await;
    let store = store.unwrap();
    let pipeline = a_stored_pipeline(&store).await;
    let job = new_job(&pipeline);
    let id = job.id;
    store.submit(job).await.unwrap();

    let line = |message: String| LogLine {
        job_id: id,
        seq: 0,
        step: None,
        item_index: None,
        attempt: 0,
        timestamp: ManualClock::default().now(),
        level: LogLevel::Info,
        message,
        metadata: serde_json::Map::new(),
    };
    let long = [line("a".into()), line("x".repeat(1_000_000))];
    let refused = store.append(&long).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Unavailable);
    assert!(store.lines(id, 0, 10).await.unwrap().is_empty());

    // What fits goes on, over a new connection.
    store.append(&[line("b".into())]).await.unwrap();
    let lines = store.lines(id, 0, 10).await.unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].seq, lines[0].message.as_str()), (1, "b"));
    assert_eq!(
        store.cancel(id, "enough").await.unwrap(),
        JobStatus::Cancelled
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("etl.db")).await;
    let pipeline = a_stored_pipeline(&store).await;
    let mut jobs = Vec::new();
    for polls in 0..50 {
        let job = new_job(&pipeline);
        jobs.push(job.id);
        // Dropped after so many looks, wherever it is by then.
        let mut submission = Box::pin(store.submit(job));
        for _ in 0..polls {
            if futures_util::poll!(&mut submission).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let last = new_job(&pipeline);
    assert_eq!(
        store.submit(last.clone()).await.unwrap(),
        Submitted::New(last.id)
    );
    for job in jobs {
        if let Some(record) = store.job(job).await.unwrap() {
            assert_eq!(record.status, JobStatus::Pending);
            let page = etl_core::model::PageRequest::default();
            assert_eq!(store.steps(job, &page).await.unwrap().items.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_closed_store_says_so_after_it_has_answered_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let store = store(&path).await;
    let pipeline = a_stored_pipeline(&store).await;
    let job = new_job(&pipeline);
    let (submitted, ()) = tokio::join!(store.submit(job.clone()), store.close());
    assert_eq!(submitted.unwrap(), Submitted::New(job.id));
    store.close().await;
    let late = store.submit(new_job(&pipeline)).await.unwrap_err();
    assert_eq!(late.kind, StoreErrorKind::Unavailable);
    assert_eq!(
        store.job(job.id).await.unwrap_err().kind,
        StoreErrorKind::Unavailable
    );
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(files.len(), 2, "the database and its lock: {files:?}");
}

#[tokio::test]
async fn jobs_of_many_steps_are_not_all_accepted_in_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("etl.db")).await;
    let put = PutPipeline {
        document: a_pipeline("wide").steps(ROWS / 2).build(),
        expected_version: None,
        by: By::system(),
    };
    store.put_pipeline(put).await.unwrap();
    let pipeline = store.pipeline("default", "wide", None).await.unwrap();
    let pipeline = pipeline.unwrap();
    let group_of = |job: NewJob| {
        let (reply, _) = oneshot::channel();
        job.into_group(reply)
    };
    let mut group = Group::default();
    for has_room in [true, true, false] {
        let next = group_of(new_job(&pipeline));
        assert_eq!(group.has_room_for(&next), has_room);
        group.absorb(next);
    }
    // One that is too large for any transaction has one of its own.
    assert!(Group::default().has_room_for(&group));

    let jobs: [_; 3] = std::array::from_fn(|_| new_job(&pipeline));
    let [a, b, c] = jobs.clone().map(|job| store.submit(job));
    let answers = tokio::join!(a, b, c);
    for (job, answer) in jobs.iter().zip([answers.0, answers.1, answers.2]) {
        assert_eq!(answer.unwrap(), Submitted::New(job.id));
    }
}
