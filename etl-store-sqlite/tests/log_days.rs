//! Old logs: deleted with the days of which they are, a few at a time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::store::{Catalog, ClaimRequest, JobStore, Journal, PutPipeline};
use etl_core::contract::{Clock, StoreErrorKind};
use etl_core::model::{By, Commit, JobId, JobStatus, LogLevel, LogLine, StepKey, StepStatus};
use etl_core::testing::build::{a_worker, ends, moves};
use etl_core::testing::{ManualClock, a_pipeline, new_job};
use etl_store_sqlite::SqliteStore;

const DAY: Duration = Duration::from_hours(24);

struct World {
    clock: Arc<ManualClock>,
    store: Arc<SqliteStore>,
}

impl World {
    async fn at(path: &Path) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = SqliteStore::open(path, clock.clone()).await.unwrap();
        let put = PutPipeline {
            document: a_pipeline("p").step("a").build(),
            expected_version: None,
            by: By::system(),
        };
        store.put_pipeline(put).await.unwrap();
        Self {
            clock,
            store: Arc::new(store),
        }
    }

    async fn job(&self, lines: usize) -> JobId {
        let pipeline = self.store.pipeline("default", "p", None).await;
        let job = new_job(&pipeline.unwrap().unwrap());
        let id = job.id;
        self.store.submit(job).await.unwrap();
        self.store
            .append(&vec![self.line(id); lines])
            .await
            .unwrap();
        id
    }

    /// With a line more, which tells that it started.
    async fn ended_job(&self, lines: usize) -> JobId {
        let job = self.job(lines).await;
        let want = ClaimRequest {
            worker: a_worker(),
            jobs: Some(vec![job]),
            limit: 1,
            ttl: DAY,
            tags: Vec::new(),
        };
        let commit = Commit {
            lease: self.store.claim(want).await.unwrap()[0].lease,
            seq: 1,
            at: self.clock.now(),
            lines: Vec::new(),
            changes: vec![
                moves(StepKey::step(0), StepStatus::Running),
                moves(StepKey::step(0), StepStatus::Success),
                ends(JobStatus::Success),
            ],
        };
        self.store.commit(&[commit]).await.unwrap();
        job
    }

    fn line(&self, job_id: JobId) -> LogLine {
        LogLine {
            job_id,
            seq: 0,
            step: None,
            item_index: None,
            attempt: 0,
            timestamp: self.clock.now(),
            level: LogLevel::Info,
            message: "m".into(),
            metadata: serde_json::Map::new(),
        }
    }

    async fn lines(&self, job: JobId) -> usize {
        self.store.lines(job, 0, usize::MAX).await.unwrap().len()
    }
}

#[tokio::test]
async fn lines_of_jobs_that_ended_before_the_days_to_keep_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let world = World::at(&path).await;
    let old = [world.ended_job(3).await, world.ended_job(4_500).await];
    let silent = world.ended_job(0).await;
    let open = world.job(2).await;
    world.clock.advance(DAY * 3);
    let new = world.ended_job(2).await;

    assert_eq!(world.store.tend_log_days(3).await.unwrap(), 0, "not yet");
    world.clock.advance(DAY);
    assert_eq!(world.store.tend_log_days(3).await.unwrap(), 4_506);
    for job in old {
        assert_eq!(world.lines(job).await, 0);
        assert!(world.store.job(job).await.unwrap().is_some(), "it stays");
    }
    assert_eq!(world.lines(silent).await, 0);
    assert_eq!(world.lines(open).await, 2, "it has not ended");
    assert_eq!(world.lines(new).await, 3);
    assert_eq!(world.store.tend_log_days(3).await.unwrap(), 0);
    assert_eq!(world.store.tend_log_days(u32::MAX).await.unwrap(), 0);

    let beside = SqliteStore::open_shared(&path, world.clock.clone()).await;
    let refused = beside.unwrap().tend_log_days(3).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::InUse);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_go_on_while_old_lines_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::at(&folder.path().join("etl.db")).await;
    let old = world.ended_job(40_000).await;
    world.clock.advance(DAY * 2);
    let job = world.job(0).await;
    let tending = {
        let store = Arc::clone(&world.store);
        tokio::spawn(async move { store.tend_log_days(0).await.unwrap() })
    };
    let mut written = 0;
    while !tending.is_finished() {
        world.store.append(&[world.line(job)]).await.unwrap();
        written += 1;
    }
    assert_eq!(tending.await.unwrap(), 40_001);
    assert_eq!(world.lines(old).await, 0);
    assert!(written >= 10, "{written} lines were written beside");
    assert_eq!(world.lines(job).await, written);
}

#[tokio::test]
async fn a_store_that_keeps_logs_for_some_days_deletes_older_ones_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let world = World::at(&path).await;
    let old = world.ended_job(3).await;
    world.store.close().await;
    world.clock.advance(DAY * 2);
    let store = SqliteStore::open(&path, world.clock.clone()).await;
    let store = store.unwrap().keep_logs(1);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !store.lines(old, 0, 9).await.unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "not in time");
        tokio::task::yield_now().await;
    }
    store.close().await;
}
