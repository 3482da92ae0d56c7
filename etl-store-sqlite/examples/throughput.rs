//! How many one-step jobs a second go through the embedded store with every state on the disk, and how long a job of
//! 100,000 steps takes to accept. `cargo run --release -p etl-store-sqlite --example throughput -- [JOBS] [IN_FLIGHT] [FOLDER]`
//!
//! Each job is accepted, dispatched, claimed, its step started and ended with the job (two commits), with one log line:
//! six answers, each given when it is durable.
#![allow(
    clippy::unwrap_used,
    reason = "a harness stops where something is wrong"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use etl_core::contract::Clock;
use etl_core::contract::store::{Catalog, ClaimRequest, JobStore, Journal, PutPipeline};
use etl_core::model::{
    By, Change, Commit, JobId, JobStatus, LogLevel, LogLine, NewJob, PageRequest, Pipeline,
    PipelineRef, Step, StepKey, StepPatch, StepStatus, Timestamp, TriggerType, Verdict, WorkerId,
};
use etl_store_sqlite::SqliteStore;
use serde_json::{Map, json};
use uuid::Uuid;

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Timestamp::from_micros(i64::try_from(since.unwrap().as_micros()).unwrap())
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let jobs: usize = args.next().map_or(10_000, |text| text.parse().unwrap());
    let in_flight: usize = args.next().map_or(256, |text| text.parse().unwrap());
    let folder = args.next().map_or_else(
        || std::env::temp_dir().join(format!("etl-throughput-{}", std::process::id())),
        PathBuf::from,
    );
    let path = folder.join("etl.db");
    let store = Arc::new(
        SqliteStore::open(&path, Arc::new(SystemClock))
            .await
            .unwrap(),
    );
    one_step_jobs(&store, jobs, in_flight).await;
    println!(
        "{} bytes of database",
        std::fs::metadata(&path).unwrap().len()
    );
    wide_job(&store, 100_000).await;
    let close = Instant::now();
    store.close().await;
    println!("closed in {:.3} s", close.elapsed().as_secs_f64());
    std::fs::remove_dir_all(folder).unwrap();
}

async fn one_step_jobs(store: &Arc<SqliteStore>, jobs: usize, in_flight: usize) {
    let (pipeline, document) = pipeline(store, "one", 1).await;
    let left = Arc::new(AtomicUsize::new(jobs));
    let start = Instant::now();
    let mut runners = Vec::new();
    for _ in 0..in_flight {
        let (store, pipeline, document, left) = (
            store.clone(),
            pipeline.clone(),
            document.clone(),
            left.clone(),
        );
        runners.push(tokio::spawn(async move {
            let worker = WorkerId(Uuid::now_v7());
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                run(&store, worker, new_job(&pipeline, &document)).await;
            }
        }));
    }
    for runner in runners {
        runner.await.unwrap();
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "{jobs} one-step jobs, {in_flight} in flight: {took:.2} s, {:.0} jobs/s",
        jobs as f64 / took
    );
}

async fn run(store: &SqliteStore, worker: WorkerId, job: NewJob) {
    let id = job.id;
    store.submit(job).await.unwrap();
    store.dispatched(&[id]).await.unwrap();
    let claimed = store
        .claim(ClaimRequest {
            worker,
            jobs: Some(vec![id]),
            limit: 1,
            ttl: Duration::from_secs(20),
            tags: Vec::new(),
        })
        .await
        .unwrap();
    let lease = claimed[0].lease;
    let at = SystemClock.now();
    let step = |to, patch| Change::Step {
        key: StepKey::step(0),
        attempt: 1,
        to,
        patch: Box::new(patch),
    };
    let begin = Commit {
        lease,
        seq: 1,
        at,
        lines: Vec::new(),
        changes: vec![step(StepStatus::Running, StepPatch::default())],
    };
    assert_eq!(store.commit(&[begin]).await.unwrap(), [Verdict::Applied]);
    let line = LogLine {
        job_id: id,
        seq: 0,
        step: Some("step-0".into()),
        item_index: None,
        attempt: 1,
        timestamp: at,
        level: LogLevel::Info,
        message: "copied 1000 rows".into(),
        metadata: Map::new(),
    };
    store.append(&[line]).await.unwrap();
    let done = StepPatch {
        output: Some(json!({"files": ["a.parquet"]})),
        rows_processed: Some(1000),
        ..StepPatch::default()
    };
    let end = Commit {
        lease,
        seq: 2,
        at: SystemClock.now(),
        lines: Vec::new(),
        changes: vec![
            step(StepStatus::Success, done),
            Change::Job {
                to: JobStatus::Success,
                error: None,
                error_stack: None,
                rows_processed: 1000,
                bytes_transferred: 0,
            },
        ],
    };
    assert_eq!(store.commit(&[end]).await.unwrap(), [Verdict::Applied]);
}

async fn wide_job(store: &SqliteStore, steps: usize) {
    let (pipeline, document) = pipeline(store, "wide", steps).await;
    let start = Instant::now();
    let job = new_job(&pipeline, &document);
    let id = job.id;
    store.submit(job).await.unwrap();
    println!(
        "a job of {steps} steps accepted in {:.3} s",
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    let claimed = store
        .claim(ClaimRequest {
            worker: WorkerId(Uuid::now_v7()),
            jobs: Some(vec![id]),
            limit: 1,
            ttl: Duration::from_secs(20),
            tags: Vec::new(),
        })
        .await
        .unwrap();
    println!("claimed in {:.3} s", start.elapsed().as_secs_f64());
    let lease = claimed[0].lease;
    let keys: Vec<_> = (0..steps as u32).map(StepKey::step).collect();
    let start = Instant::now();
    for (seq, keys) in (1..).zip(keys.chunks(1000)) {
        let moves = |to| {
            keys.iter().map(move |&key| Change::Step {
                key,
                attempt: 1,
                to,
                patch: Box::default(),
            })
        };
        let commit = Commit {
            lease,
            seq,
            at: SystemClock.now(),
            lines: Vec::new(),
            changes: moves(StepStatus::Running)
                .chain(moves(StepStatus::Success))
                .collect(),
        };
        assert_eq!(store.commit(&[commit]).await.unwrap(), [Verdict::Applied]);
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "{steps} steps run in {took:.2} s, {:.0} steps/s",
        steps as f64 / took
    );
    let start = Instant::now();
    let page = store.steps(id, &PageRequest::first(500)).await.unwrap();
    println!(
        "{} step rows read in {:.3} s",
        page.items.len(),
        start.elapsed().as_secs_f64()
    );
}

async fn pipeline(store: &SqliteStore, name: &str, steps: usize) -> (PipelineRef, Arc<Pipeline>) {
    let mut document = Pipeline::new(name);
    document.steps = (0..steps)
        .map(|position| Step::new(format!("step-{position}"), "sleep"))
        .collect();
    let document = Arc::new(document);
    let put = PutPipeline {
        document: document.clone(),
        expected_version: None,
        by: By::system(),
    };
    (store.put_pipeline(put).await.unwrap(), document)
}

fn new_job(pipeline: &PipelineRef, document: &Arc<Pipeline>) -> NewJob {
    NewJob {
        id: JobId(Uuid::now_v7()),
        pipeline: pipeline.clone(),
        document: document.clone(),
        trigger_type: TriggerType::Api,
        triggered_by: By::system(),
        scheduled_for: None,
        parameters: json!({"month": "2013-01"}),
        context: Map::new(),
        priority: 5,
        max_active: None,
        idempotency_key: None,
        retry_of: None,
        retry_attempt: 0,
        taken_over: Vec::new(),
    }
}
