//! `/jobs`: looked at, ended and repeated.

pub(super) mod artifacts;
pub(super) mod logs;
pub(super) mod repeats;
pub(super) mod steps;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use etl_core::contract::store::{JobStore, Journal, StoredPipeline, Submitted};
use etl_core::model::{JobFilter, JobId, JobRecord, JobStatus, Page, Timestamp, TriggerType};
use etl_core::runtime::{Intake, IntakeError, Trigger};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::Api;
use super::extract::{Id, Limit, Query, page, parameter};
use super::pipelines;
use super::problem::Problem;
use super::route::{Access, Route};
use crate::identity::{Action, Principal, Resource};

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get("/api/v1/jobs", Resource::Jobs, list).says("Jobs, newest first"),
        Route::get("/api/v1/jobs/{id}", Resource::Jobs, one).says("A job"),
        Route::post(
            "/api/v1/jobs/{id}/cancel",
            Access::to(Action::Cancel, Resource::Jobs),
            cancel,
        )
        .also(&[StatusCode::ACCEPTED])
        .says("Ends a job: 200 once it has ended, 202 while its worker is asked to end it"),
    ];
    routes.extend(repeats::routes());
    routes.extend(logs::routes());
    routes.extend(artifacts::routes());
    routes.extend(steps::routes());
    routes
}

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

/// Jobs, newest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<JobRecord>>, Problem> {
    let words = wanted.status.iter().flat_map(|words| words.split(','));
    let status = words
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

pub(super) async fn job_of(api: &Api, job: JobId) -> Result<JobRecord, Problem> {
    let found = Journal::job(&*api.store, job).await?;
    found.ok_or_else(Problem::not_found)
}

/// Makes a job of the trigger, and tells who may run it.
pub(super) async fn accept(
    api: &Api,
    pipeline: &StoredPipeline,
    trigger: Trigger,
) -> Result<JobRecord, Problem> {
    let intake = Intake::new(Arc::clone(&api.store));
    let id = JobId(Uuid::now_v7());
    match intake.submit(id, pipeline, trigger.clone()).await {
        Ok(submitted) => {
            if let Submitted::New(job) = submitted {
                api.tell_workers([job], pipeline.document.priority);
            }
            job_of(api, submitted.job()).await
        }
        Err(IntakeError::KeyTaken(job)) => {
            let of = pipeline.reference.id;
            let known = pipelines::same_request(api, job, of, &trigger).await?;
            known.ok_or_else(|| IntakeError::KeyTaken(job).into())
        }
        Err(error) => Err(error.into()),
    }
}
