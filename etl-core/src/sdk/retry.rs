//! A job that repeats an ended one, with or without its results.

use std::collections::BTreeMap;

use serde_json::Value;

use super::embedded::RetryFrom;
use super::error::EtlError;
use crate::contract::Store;
use crate::contract::store::StoredPipeline;
use crate::model::{
    By, JobId, JobRecord, Page, PageRequest, StepKey, StepRecord, StepStatus, TakenOver,
    TriggerType,
};
use crate::runtime::Trigger;

/// The trigger of the job that repeats `job`, and the pipeline version that it was pinned to: for who hands it to other
/// processes. [`Etl::retry`](super::Etl::retry) runs it in this one.
///
/// # Errors
/// If the store can't be reached, or does not know the job or its pipeline any more.
pub async fn retry_trigger(
    store: &dyn Store,
    job: JobId,
    from: RetryFrom,
    by: By,
) -> Result<(StoredPipeline, Trigger), EtlError> {
    let record = store.job(job).await?.ok_or(EtlError::NoSuchJob(job))?;
    let pipeline = store
        .pipeline_version(record.pipeline_id, record.pipeline_version)
        .await?;
    let pipeline = pipeline.ok_or_else(|| EtlError::NoSuchPipeline(record.pipeline.to_string()))?;
    let taken_over = match from {
        RetryFrom::Start => Vec::new(),
        RetryFrom::Failed => results(store, job).await?,
    };
    let JobRecord {
        parameters,
        context,
        scheduled_for,
        retry_attempt,
        ..
    } = record;
    let parameters = match parameters {
        Value::Object(parameters) => parameters,
        _ => serde_json::Map::new(),
    };
    let mut trigger = Trigger::new(TriggerType::Manual, by, parameters);
    trigger.context = context;
    trigger.scheduled_for = scheduled_for;
    trigger.retry_of = Some((job, retry_attempt));
    trigger.taken_over = taken_over;
    Ok((pipeline, trigger))
}

/// What the steps that succeeded left. A fan-out is taken over only as a whole: one with a failed item runs again.
async fn results(store: &dyn Store, job: JobId) -> Result<Vec<TakenOver>, EtlError> {
    let steps = all_steps(store, job).await?;
    let mut whole: BTreeMap<u32, bool> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.item_index.is_none()) {
        whole.insert(step.order_index, step.status == StepStatus::Success);
    }
    let succeeded = steps.into_iter().filter(|step| {
        let of_a_whole = whole.get(&step.order_index).copied().unwrap_or(false);
        of_a_whole && (step.status == StepStatus::Success || step.item_index.is_some())
    });
    Ok(succeeded.map(taken_over).collect())
}

fn taken_over(step: StepRecord) -> TakenOver {
    TakenOver {
        key: StepKey {
            step: step.order_index,
            item: step.item_index,
        },
        // Of a fan-out that is done only the number of items matters: none of them is rendered again.
        items: step.items.map(|items| vec![Value::Null; items as usize]),
        output: step.output_data,
        artifacts: step.artifacts,
        rows_processed: step.rows_processed,
        bytes_transferred: step.bytes_transferred,
    }
}

/// Every step execution of a job.
pub(super) async fn all_steps(store: &dyn Store, job: JobId) -> Result<Vec<StepRecord>, EtlError> {
    let mut steps = Vec::new();
    let mut request = PageRequest::first(500);
    loop {
        let Page { items, next_cursor } = store.steps(job, &request).await?;
        steps.extend(items);
        match next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return Ok(steps),
        }
    }
}
