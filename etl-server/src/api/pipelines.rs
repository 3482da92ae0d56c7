//! `/pipelines`: what is stored.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use etl_core::contract::store::{Catalog, PipelineFilter, StoredPipeline};
use etl_core::model::{By, Page, PipelineId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::extract::{Limit, Query, page};
use super::problem::Problem;

/// Which pipelines a list has, and which part of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    #[schemars(with = "Limit")]
    limit: Option<String>,
    cursor: Option<String>,
    namespace: Option<String>,
    /// One that they have.
    tag: Option<String>,
}

/// The current version of a pipeline, without its steps: a document may be large, and a list has many.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PipelineSummary")]
pub(super) struct Listed {
    id: PipelineId,
    namespace: Arc<str>,
    name: Arc<str>,
    version: u64,
    description: Option<String>,
    schedule: Option<String>,
    timezone: String,
    is_active: bool,
    tags: Vec<String>,
    created_by: By,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<StoredPipeline> for Listed {
    fn from(stored: StoredPipeline) -> Self {
        let document = &stored.document;
        Self {
            description: document.description.clone(),
            schedule: document.schedule.clone(),
            timezone: document.timezone.clone(),
            is_active: document.is_active,
            tags: document.tags.clone(),
            id: stored.reference.id,
            namespace: stored.reference.namespace,
            name: stored.reference.name,
            version: stored.reference.version,
            created_by: stored.created_by,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }
}

/// Pipelines by namespace and name.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<Listed>>, Problem> {
    let page = page(wanted.limit.as_deref(), wanted.cursor)?;
    let filter = PipelineFilter {
        namespace: wanted.namespace,
        tag: wanted.tag,
    };
    let pipelines = Catalog::pipelines(&*api.store, &filter, &page).await;
    let pipelines = pipelines.map_err(Problem::of_list)?;
    Ok(Json(Page {
        items: pipelines.items.into_iter().map(Listed::from).collect(),
        next_cursor: pipelines.next_cursor,
    }))
}
