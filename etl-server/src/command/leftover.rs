//! Jobs that an earlier process left without an end. This process is their database's only server, so nobody runs them.

use etl_core::contract::Store;
use etl_core::contract::store::{Journal, StoredPipeline};
use etl_core::model::{JobFilter, JobRecord, JobStatus, PageRequest};

use crate::failure::Failure;
use crate::view::{count, say};

/// A run does not touch them, but it does not hide them either.
pub(super) async fn say_what_waits(store: &dyn Store) -> Result<(), Failure> {
    let open = [JobStatus::Pending, JobStatus::Queued, JobStatus::Running].to_vec();
    let filter = JobFilter {
        status: open,
        ..JobFilter::default()
    };
    let jobs = Journal::jobs(store, &filter, &PageRequest::first(10)).await?;
    if let Some(first) = jobs.items.first() {
        let more = jobs.next_cursor.map_or("", |_| "more than ");
        let jobs = count(jobs.items.len(), "earlier job");
        say(&format!(
            "note: {more}{jobs} did not reach the end; `etl retry {}` goes on with the latest, `etl jobs` shows all",
            first.id
        ));
    }
    Ok(())
}

/// Each holds its place among the jobs of its pipeline that may run at once: where they hold all, a new one would wait
/// for ever.
pub(super) async fn refuse_if_full(
    store: &dyn Store,
    pipeline: &StoredPipeline,
) -> Result<(), Failure> {
    refuse_if_full_but_for(store, pipeline, |_| false).await
}

/// The same, without the jobs that the caller is about to go on with.
pub(super) async fn refuse_if_full_but_for(
    store: &dyn Store,
    pipeline: &StoredPipeline,
    gone_on_with: impl Fn(&JobRecord) -> bool + Send,
) -> Result<(), Failure> {
    let Some(concurrency) = &pipeline.document.concurrency else {
        return Ok(());
    };
    let limit = concurrency.limit as usize;
    let filter = JobFilter {
        status: vec![JobStatus::Running],
        pipeline: Some(pipeline.document.name.clone()),
        ..JobFilter::default()
    };
    let mut running = Journal::jobs(store, &filter, &PageRequest::first(500))
        .await?
        .items;
    // Another namespace may have one of the same name.
    running.retain(|job| job.pipeline_id == pipeline.reference.id && !gone_on_with(job));
    match running.first() {
        Some(first) if running.len() >= limit => Err(Failure::input(format!(
            "{} of pipeline {:?} did not reach the end, and no more than {limit} may run at once",
            count(running.len(), "job"),
            pipeline.document.name,
        ))
        .hint(format!(
            "go on with one by `etl retry {0}`, or end it by `etl cancel {0}` and `etl retry {0}`",
            first.id
        ))),
        _ => Ok(()),
    }
}
