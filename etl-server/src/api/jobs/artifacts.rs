//! What the steps of a job left.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use etl_core::contract::store::Journal;
use etl_core::model::{ArtifactName, JobId, Page};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::job_of;
use crate::api::Api;
use crate::api::extract::{Id, Part, Query, page};
use crate::api::problem::Problem;
use crate::api::route::Route;
use crate::identity::Resource;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/jobs/{id}/artifacts", Resource::Jobs, list)
            .says("What the steps of a job left, by position; `limit` counts step executions"),
    ]
}

/// What a step execution left.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StepArtifact")]
pub(in crate::api) struct Listed {
    /// The step execution's `id`.
    step_execution_id: Uuid,
    /// The step's name.
    step: Arc<str>,
    item_index: Option<u32>,
    name: ArtifactName,
    /// Where it is: a `file:` or `s3:` URL.
    uri: String,
}

/// Artifacts of a part of the steps.
pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    Id(job): Id<JobId>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Listed>>, Problem> {
    let page = page(part.limit.as_deref(), part.cursor)?;
    job_of(&api, job).await?;
    let steps = Journal::steps(&*api.store, job, &page).await;
    let steps = steps.map_err(Problem::of_list)?;
    let items = steps.items.into_iter().flat_map(|step| {
        let (id, name, item_index) = (step.id, step.name, step.item_index);
        step.artifacts.into_iter().map(move |artifact| Listed {
            step_execution_id: id,
            step: Arc::clone(&name),
            item_index,
            name: artifact.name,
            uri: artifact.uri,
        })
    });
    Ok(Json(Page {
        items: items.collect(),
        next_cursor: steps.next_cursor,
    }))
}
