//! Reads everything that is open.

use std::collections::HashMap;

use etl_core::contract::Store;
use etl_core::contract::store::{Catalog, HookStore, Journal, ScheduleStore};
use etl_core::model::{JobFilter, JobRecord, JobStatus, PageRequest, PipelineId, Timestamp};

use super::custody::{Custody, Seen, of_hook, of_job, of_schedule, of_step};
use crate::command::steps_of;
use crate::failure::Failure;

/// So many hooks are shown; finishers take them in the same order.
const HOOKS: usize = 1_000;

/// Steps are shown of so many jobs.
const WITH_STEPS: usize = 100;

/// Every open row with who moves it.
pub(super) async fn open_rows(store: &dyn Store, now: Timestamp) -> Result<Vec<Custody>, Failure> {
    let jobs = open_jobs(store).await?;
    let seen = Seen {
        now,
        workers: jobs
            .iter()
            .any(|job| job.lease_expires_at.is_some_and(|end| end > now)),
    };
    let limits = limits(store, &jobs).await?;
    let mut rows = Vec::new();
    for (position, job) in jobs.iter().enumerate() {
        let at_limit = limits.get(&(job.pipeline_id, job.pipeline_version));
        let custody = of_job(job, seen, at_limit.copied().unwrap_or(false));
        let mut steps = Vec::new();
        if position < WITH_STEPS {
            let of_job = steps_of(store, job.id).await?;
            let open = of_job.iter().filter(|step| !step.status.is_terminal());
            steps.extend(open.map(|step| of_step(step, &custody)));
        }
        rows.push(custody);
        rows.extend(steps);
    }
    rows.extend(schedules(store, now).await?);
    for hook in HookStore::waiting_hooks(store, HOOKS).await? {
        let ended = Journal::job(store, hook.job).await?;
        let ended = ended.and_then(|job| job.completed_at);
        rows.push(of_hook(&hook, ended, now));
    }
    Ok(rows)
}

async fn open_jobs(store: &dyn Store) -> Result<Vec<JobRecord>, Failure> {
    let filter = JobFilter {
        status: vec![JobStatus::Pending, JobStatus::Queued, JobStatus::Running],
        ..JobFilter::default()
    };
    let mut jobs = Vec::new();
    let mut page = PageRequest::first(500);
    loop {
        let answer = Journal::jobs(store, &filter, &page).await?;
        jobs.extend(answer.items);
        match answer.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return Ok(jobs),
        }
    }
}

/// The pipeline versions whose jobs have to wait, because as many of the pipeline run as may.
async fn limits(
    store: &dyn Store,
    jobs: &[JobRecord],
) -> Result<HashMap<(PipelineId, u64), bool>, Failure> {
    let mut running: HashMap<PipelineId, u32> = HashMap::new();
    for job in jobs.iter().filter(|job| job.status == JobStatus::Running) {
        *running.entry(job.pipeline_id).or_default() += 1;
    }
    let mut limits = HashMap::new();
    for job in jobs {
        let version = (job.pipeline_id, job.pipeline_version);
        if limits.contains_key(&version) {
            continue;
        }
        let pipeline = Catalog::pipeline_version(store, version.0, version.1).await?;
        let limit = pipeline.and_then(|pipeline| pipeline.document.concurrency.map(|c| c.limit));
        let runs = running.get(&job.pipeline_id).copied().unwrap_or(0);
        limits.insert(version, limit.is_some_and(|limit| runs >= limit));
    }
    Ok(limits)
}

async fn schedules(store: &dyn Store, now: Timestamp) -> Result<Vec<Custody>, Failure> {
    let mut rows = Vec::new();
    let mut page = PageRequest::first(500);
    loop {
        let answer = ScheduleStore::schedules(store, &page).await?;
        let schedules = answer.items.iter();
        rows.extend(schedules.filter_map(|schedule| of_schedule(schedule, now)));
        match answer.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return Ok(rows),
        }
    }
}
