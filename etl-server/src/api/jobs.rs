//! `/jobs`: looked at and ended.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use etl_core::contract::store::{JobStore, Journal};
use etl_core::model::{
    JobFilter, JobId, JobRecord, JobStatus, Page, StepRecord, Timestamp, TriggerType,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Api;
use super::extract::{Id, Limit, Query, page, parameter};
use super::problem::Problem;
use crate::identity::Principal;

/// Which jobs a list has, and which part of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    #[schemars(with = "Limit")]
    limit: Option<String>,
    cursor: Option<String>,
    /// Any of these, with commas between.
    #[schemars(with = "Vec<JobStatus>")]
    status: Option<String>,
    /// The pipeline's name.
    pipeline: Option<String>,
    #[schemars(with = "TriggerType")]
    trigger_type: Option<String>,
    /// At or after.
    #[schemars(with = "Timestamp")]
    created_from: Option<String>,
    /// Before.
    #[schemars(with = "Timestamp")]
    created_to: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Part {
    #[schemars(with = "Limit")]
    limit: Option<String>,
    cursor: Option<String>,
}

/// Jobs, newest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<JobRecord>>, Problem> {
    let words = wanted.status.as_deref().unwrap_or_default().split(',');
    let status = words
        .filter(|word| !word.is_empty())
        .filter_map(|word| parameter("status", Some(word)).transpose())
        .collect::<Result<Vec<JobStatus>, Problem>>()?;
    let filter = JobFilter {
        status,
        trigger_type: parameter("trigger_type", wanted.trigger_type.as_deref())?,
        created_from: parameter("created_from", wanted.created_from.as_deref())?,
        created_to: parameter("created_to", wanted.created_to.as_deref())?,
        pipeline: wanted.pipeline,
    };
    let page = page(wanted.limit.as_deref(), wanted.cursor)?;
    let jobs = Journal::jobs(&*api.store, &filter, &page).await;
    jobs.map(Json).map_err(Problem::of_list)
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Id(job): Id<JobId>,
) -> Result<Json<JobRecord>, Problem> {
    job_of(&api, job).await.map(Json)
}

/// Step executions by position, the step itself before its items.
pub(super) async fn steps(
    State(api): State<Arc<Api>>,
    Id(job): Id<JobId>,
    Query(part): Query<Part>,
) -> Result<Json<Page<StepRecord>>, Problem> {
    let page = page(part.limit.as_deref(), part.cursor)?;
    // A job that is not there has no steps, which is not what is to be told of it.
    job_of(&api, job).await?;
    let steps = Journal::steps(&*api.store, job, &page).await;
    steps.map(Json).map_err(Problem::of_list)
}

/// Ends a job: 200 once it has ended, 202 while its worker is asked to end it. One that had ended before stays as it is.
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(job): Id<JobId>,
) -> Result<(StatusCode, Json<JobRecord>), Problem> {
    let reason = format!("cancelled by {}", principal.name);
    let status = JobStore::cancel(&*api.store, job, &reason).await?;
    let job = job_of(&api, job).await?;
    let answer = if status.is_terminal() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((answer, Json(job)))
}

async fn job_of(api: &Api, job: JobId) -> Result<JobRecord, Problem> {
    let found = Journal::job(&*api.store, job).await?;
    found.ok_or_else(Problem::not_found)
}
