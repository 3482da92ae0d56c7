//! A job that repeats an ended one, with or without its results.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::embedded::RetryFrom;
use super::error::EtlError;
use crate::contract::Store;
use crate::contract::store::StoredPipeline;
use crate::model::{
    By, JobId, JobRecord, Page, PageRequest, Pipeline, Step, StepKey, StepRecord, StepStatus,
    TakenOver, TriggerType,
};
use crate::plan;
use crate::runtime::Trigger;

/// How a job is to be repeated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Repeat {
    /// Where it begins.
    pub from: RetryFrom,
    /// Whether it is a job of the pipeline's current version, and not of the one that the repeated job was accepted with.
    pub latest: bool,
    /// Parameters in place of those of the repeated job. What is not named stays.
    pub parameters: Map<String, Value>,
}

impl From<RetryFrom> for Repeat {
    fn from(from: RetryFrom) -> Self {
        Self {
            from,
            ..Self::default()
        }
    }
}

/// The trigger of the job that repeats `job`, and the pipeline version that it is of: for who hands it to other processes.
/// [`Etl::retry`](super::Etl::retry) runs it in this one.
///
/// Results are taken over of steps that succeeded. Of another version, or with other parameters, or from a step on, only those
/// whose inputs are the same: a step that says something else, that names `params` when those are others, or that depends on one
/// that runs again, runs again itself.
///
/// # Errors
/// If the store can't be reached, or does not know the job or its pipeline any more; if there is no such step.
pub async fn retry_trigger(
    store: &dyn Store,
    job: JobId,
    repeat: Repeat,
    by: By,
) -> Result<(StoredPipeline, Trigger), EtlError> {
    let record = store.job(job).await?.ok_or(EtlError::NoSuchJob(job))?;
    let pinned = store.pipeline_version(record.pipeline_id, record.pipeline_version);
    let gone = || EtlError::NoSuchPipeline(record.pipeline.to_string());
    let pinned = pinned.await?.ok_or_else(gone)?;
    let pipeline = if repeat.latest {
        let current = store.pipeline_by_id(record.pipeline_id).await?;
        current.ok_or_else(gone)?
    } else {
        pinned.clone()
    };
    let mut parameters = match &record.parameters {
        Value::Object(parameters) => parameters.clone(),
        _ => Map::new(),
    };
    parameters.extend(repeat.parameters);
    if let RetryFrom::Step(name) = &repeat.from
        && !pipeline
            .document
            .steps
            .iter()
            .any(|step| step.name == *name)
    {
        return Err(EtlError::NoSuchStep {
            pipeline: pipeline.document.name.clone(),
            version: pipeline.reference.version,
            step: name.clone(),
        });
    }
    let taken_over = match &repeat.from {
        RetryFrom::Start => Vec::new(),
        RetryFrom::Failed | RetryFrom::Step(_) => {
            let schema = pipeline.document.parameters.as_ref();
            // Those that don't fit are refused by whoever accepts the job.
            let given = plan::parameters(schema, parameters.clone()).unwrap_or_default();
            let has_same_parameters = record.parameters == given;
            let (before, now) = (&pinned.document, &pipeline.document);
            let mut again = changed(before, now, has_same_parameters);
            if let RetryFrom::Step(name) = &repeat.from {
                again.insert(name.as_str());
            }
            results(
                all_steps(store, job).await?,
                now,
                &with_dependents(now, again),
            )
        }
    };
    let JobRecord {
        context,
        scheduled_for,
        retry_attempt,
        ..
    } = record;
    let mut trigger = Trigger::new(TriggerType::Manual, by, parameters);
    trigger.context = context;
    trigger.scheduled_for = scheduled_for;
    trigger.retry_of = Some((job, retry_attempt));
    trigger.taken_over = taken_over;
    Ok((pipeline, trigger))
}

/// The steps whose inputs are not what they were.
fn changed<'a>(
    before: &Pipeline,
    now: &'a Pipeline,
    has_same_parameters: bool,
) -> BTreeSet<&'a str> {
    let known: HashMap<&str, &Step> = before.steps.iter().map(|s| (s.name.as_str(), s)).collect();
    let is_same = |step: &Step| {
        let inputs = inputs(step);
        let was = known.get(step.name.as_str()).map(|step| self::inputs(step));
        was.as_ref() == Some(&inputs) && (has_same_parameters || !mentions_parameters(&inputs))
    };
    let steps = now.steps.iter().filter(|step| !is_same(step));
    steps.map(|step| step.name.as_str()).collect()
}

/// What of a step decides its result.
fn inputs(step: &Step) -> Value {
    json!([
        step.connector_type,
        step.credential,
        step.config,
        step.dependencies,
        step.trigger_rule,
        step.when,
        step.for_each,
    ])
}

/// Whether a template could see a parameter: one that only seems to runs again, which is never wrong.
fn mentions_parameters(inputs: &Value) -> bool {
    inputs.to_string().contains("params")
}

/// These steps and all that depend on one of them.
fn with_dependents<'a>(pipeline: &'a Pipeline, steps: BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let mut dependents: HashMap<&str, Vec<&str>> = HashMap::new();
    for step in &pipeline.steps {
        for dependency in &step.dependencies {
            let of = dependents.entry(dependency).or_default();
            of.push(&step.name);
        }
    }
    let mut open: Vec<&str> = steps.iter().copied().collect();
    let mut all = steps;
    while let Some(step) = open.pop() {
        for dependent in dependents.get(step).into_iter().flatten() {
            if all.insert(dependent) {
                open.push(dependent);
            }
        }
    }
    all
}

/// What the steps that succeeded left, but for those that run again. A fan-out is taken over only as a whole: one with a failed
/// item runs again.
fn results(steps: Vec<StepRecord>, now: &Pipeline, again: &BTreeSet<&str>) -> Vec<TakenOver> {
    let names = now.steps.iter().zip(0..);
    let positions: HashMap<&str, u32> = names.map(|(s, at)| (s.name.as_str(), at)).collect();
    let mut whole: BTreeMap<u32, bool> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.item_index.is_none()) {
        whole.insert(step.order_index, step.status == StepStatus::Success);
    }
    let succeeded = steps.into_iter().filter_map(|step| {
        let of_a_whole = whole.get(&step.order_index).copied().unwrap_or(false);
        let is_done = step.status == StepStatus::Success || step.item_index.is_some();
        let position = positions.get(&*step.name).copied()?;
        let is_reused = of_a_whole && is_done && !again.contains(&*step.name);
        is_reused.then(|| taken_over(step, position))
    });
    succeeded.collect()
}

fn taken_over(step: StepRecord, position: u32) -> TakenOver {
    TakenOver {
        key: StepKey {
            step: position,
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
