//! Hooks whose pipeline can't be read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::store::{Catalog, ClaimRequest, HookStore, JobStore, Journal, PutPipeline};
use etl_core::model::{
    By, Change, Commit, HookRow, HookTarget, JobFilter, JobStatus, PageRequest, StepKey,
    StepStatus, Timestamp,
};
use etl_core::runtime::Finisher;
use etl_core::testing::build::{a_worker, ends, moves};
use etl_core::testing::{ManualClock, a_pipeline, new_job};
use etl_store_sqlite::SqliteStore;
use sqlx::{Connection, SqliteConnection};

#[tokio::test]
async fn a_hook_whose_pipeline_can_not_be_read_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let open = || SqliteStore::open(&path, Arc::new(ManualClock::default()));
    let store = open().await.unwrap();
    for name in ["first", "broken", "next"] {
        let put = PutPipeline {
            document: a_pipeline(name).step("a").build(),
            expected_version: None,
            by: By::system(),
        };
        store.put_pipeline(put).await.unwrap();
    }
    let first = store
        .pipeline("default", "first", None)
        .await
        .unwrap()
        .unwrap();
    let job = new_job(&first);
    store.submit(job.clone()).await.unwrap();
    let want = ClaimRequest {
        worker: a_worker(),
        jobs: None,
        limit: 1,
        ttl: Duration::from_hours(1),
        tags: Vec::new(),
    };
    let lease = store.claim(want).await.unwrap()[0].lease;
    let hook = |position, name: &str| {
        Change::Hook(HookRow {
            position,
            target: HookTarget::TriggerPipeline {
                name: name.into(),
                parameters: serde_json::Map::new(),
                after: first.reference.clone(),
            },
        })
    };
    let commit = Commit {
        lease,
        seq: 1,
        at: Timestamp::from_seconds(1),
        lines: Vec::new(),
        changes: vec![
            moves(StepKey::step(0), StepStatus::Running),
            moves(StepKey::step(0), StepStatus::Success),
            hook(0, "broken"),
            hook(1, "next"),
            ends(JobStatus::Success),
        ],
    };
    store.commit(&[commit]).await.unwrap();
    store.close().await;
    let url = format!("sqlite://{}", path.display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let sql = "UPDATE pipelines SET config = '{}' WHERE name = 'broken';
        UPDATE pipeline_versions SET document = '{}' WHERE pipeline_id = (SELECT id FROM pipelines WHERE name = 'broken')";
    sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
    database.close().await.unwrap();

    let store = Arc::new(open().await.unwrap());
    assert!(store.pipeline("default", "broken", None).await.is_err());
    assert_eq!(Finisher::new(store.clone()).tick().await.unwrap(), 2);
    assert_eq!(store.waiting_hooks(9).await.unwrap(), []);
    let jobs = Journal::jobs(&*store, &JobFilter::default(), &PageRequest::first(9)).await;
    let jobs = jobs.unwrap().items;
    assert_eq!((jobs.len(), &*jobs[0].pipeline), (2, "next"));
    store.close().await;
}
