//! The step executions of a job.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use etl_core::contract::store::Journal;
use etl_core::model::{JobId, Page, PageRequest, StepRecord};
use uuid::Uuid;

use super::job_of;
use crate::api::Api;
use crate::api::extract::{Id, Ids, LARGEST_LIMIT, Part, Query, page};
use crate::api::problem::Problem;
use crate::api::route::Route;
use crate::identity::Resource;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/jobs/{id}/steps", Resource::Jobs, list)
            .says("A job's step executions by position, the step itself before its items"),
        Route::get("/api/v1/jobs/{id}/steps/{step_id}", Resource::Jobs, one)
            .says("A step execution, by its `id`, or by the `step_id` of a step that is no item"),
    ]
}

/// Step executions by position, the step itself before its items.
pub(in crate::api) async fn list(
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

pub(in crate::api) async fn one(
    State(api): State<Arc<Api>>,
    Ids(job, step): Ids<JobId, Uuid>,
) -> Result<Json<StepRecord>, Problem> {
    step_of(&api, job, step).await.map(Json)
}

/// The execution of this id, or of this step if it is no item.
pub(super) async fn step_of(api: &Api, job: JobId, id: Uuid) -> Result<StepRecord, Problem> {
    let is_meant =
        |step: &StepRecord| step.id == id || (step.step_id == id && step.item_index.is_none());
    let mut page = PageRequest::first(LARGEST_LIMIT);
    loop {
        let Page { items, next_cursor } = Journal::steps(&*api.store, job, &page).await?;
        if let Some(step) = items.into_iter().find(is_meant) {
            return Ok(step);
        }
        let cursor = next_cursor.ok_or_else(Problem::not_found)?;
        page.cursor = Some(cursor);
    }
}
