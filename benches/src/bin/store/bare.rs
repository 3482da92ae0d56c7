//! The store alone: the calls that the engine makes for a one-step job, without the engine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etl_benches::{Form, pipeline};
use etl_core::contract::Clock;
use etl_core::contract::store::{Catalog, ClaimRequest, JobStore, PutPipeline};
use etl_core::model::{
    By, Change, Commit, JobId, JobStatus, NewJob, Pipeline, PipelineRef, StepKey, StepPatch,
    StepStatus, TriggerType, Verdict, WorkerId,
};
use etl_core::runtime::SystemClock;
use etl_store_sqlite::SqliteStore;
use serde_json::Map;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How many jobs a second, with so many callers at once: each job is accepted, dispatched, claimed, started and ended, and
/// each of these five is on the disk before the next is asked for.
pub(crate) async fn jobs(folder: &Path, jobs: usize, callers: usize) -> Result<f64> {
    let store = SqliteStore::open(folder.join("bare.db"), Arc::new(SystemClock)).await?;
    let store = Arc::new(store);
    let document = Arc::new(pipeline(Form::Wide, 1));
    let put = PutPipeline {
        document: Arc::clone(&document),
        expected_version: None,
        by: By::system(),
    };
    let reference = store.put_pipeline(put).await?;
    let left = Arc::new(AtomicUsize::new(jobs));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (store, left) = (Arc::clone(&store), Arc::clone(&left));
        let (reference, document) = (reference.clone(), Arc::clone(&document));
        running.spawn(async move {
            let worker = WorkerId(Uuid::now_v7());
            while left
                .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                .is_ok()
            {
                let job = new_job(&reference, &document);
                one(&store, worker, job).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let took = began.elapsed();
    store.close().await;
    Ok(jobs as f64 / took.as_secs_f64())
}

async fn one(store: &SqliteStore, worker: WorkerId, job: NewJob) -> Result<()> {
    let id = job.id;
    store.submit(job).await?;
    store.dispatched(&[id]).await?;
    let want = ClaimRequest {
        worker,
        jobs: Some(vec![id]),
        limit: 1,
        ttl: Duration::from_secs(20),
        tags: Vec::new(),
    };
    let claimed = store.claim(want).await?;
    let lease = claimed.first().context("the job was not claimed")?.lease;
    let step = |to| Change::Step {
        key: StepKey::step(0),
        attempt: 1,
        to,
        patch: Box::<StepPatch>::default(),
    };
    let end = Change::Job {
        to: JobStatus::Success,
        error: None,
        error_stack: None,
        rows_processed: 0,
        bytes_transferred: 0,
    };
    let states = [
        vec![step(StepStatus::Running)],
        vec![step(StepStatus::Success), end],
    ];
    for (seq, changes) in (1..).zip(states) {
        let commit = Commit {
            lease,
            seq,
            at: SystemClock.now(),
            lines: Vec::new(),
            changes,
        };
        ensure!(store.commit(&[commit]).await? == [Verdict::Applied]);
    }
    Ok(())
}

fn new_job(pipeline: &PipelineRef, document: &Arc<Pipeline>) -> NewJob {
    NewJob {
        id: JobId(Uuid::now_v7()),
        pipeline: pipeline.clone(),
        document: Arc::clone(document),
        trigger_type: TriggerType::Api,
        triggered_by: By::system(),
        scheduled_for: None,
        parameters: Map::new().into(),
        context: Map::new(),
        priority: 5,
        max_active: None,
        idempotency_key: None,
        retry_of: None,
        retry_attempt: 0,
        taken_over: Vec::new(),
    }
}
