//! `/pipelines`: written, read and removed. A change is a new version.

mod runs;
mod shown;

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use etl_core::contract::store::{Catalog, PipelineFilter, PutPipeline, StoredPipeline};
use etl_core::contract::{StoreError, StoreErrorKind};
use etl_core::model::{By, Cursor, Page, Pipeline, PipelineId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Api;
use super::answer::{Created, Done, Versioned};
use super::body::{Any, Offered};
use super::extract::{Id, IdempotencyKey, Ids, IfMatch, Limit, MayMatch, Part, Query, page};
use super::problem::Problem;
use super::route::{Access, Route};
use crate::identity::{Action, Principal, Resource};
pub(super) use runs::same_request;
use shown::{Checked, Listed, ShownPipeline};

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    let to = |action| Access::to(action, Resource::Pipelines);
    let mut routes = vec![
        Route::get("/api/v1/pipelines", Resource::Pipelines, list)
            .says("The current versions of pipelines, by namespace and name, without their steps"),
        Route::post("/api/v1/pipelines", to(Action::Create), create)
            .says("A new pipeline: its document"),
        Route::get("/api/v1/pipelines/{id}", Resource::Pipelines, one)
            .says("A pipeline in its current version"),
        Route::put("/api/v1/pipelines/{id}", to(Action::Update), update)
            .says("The next version of a pipeline; jobs that were accepted keep theirs"),
        Route::delete("/api/v1/pipelines/{id}", to(Action::Delete), remove)
            .says("Removes a pipeline; jobs that were accepted go on"),
        Route::post(
            "/api/v1/pipelines/{id}/validate",
            to(Action::Read),
            validate,
        )
        .says("Every fault of a document, or of the pipeline as it is stored"),
        Route::get(
            "/api/v1/pipelines/{id}/versions",
            Resource::Pipelines,
            versions,
        )
        .says("The versions of a pipeline, the newest first, without their steps"),
        Route::get(
            "/api/v1/pipelines/{id}/versions/{version}",
            Resource::Pipelines,
            version,
        )
        .says("A pipeline in one of its versions"),
    ];
    routes.extend(runs::routes());
    routes
}

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

/// With a key, whoever lost the answer asks again: the same document is the same pipeline.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    key: IdempotencyKey,
    Offered(document): Offered,
) -> Result<Created<Versioned<ShownPipeline>>, Problem> {
    let document = Arc::new(document);
    let made = match put(&api, &principal, &document, 0).await {
        Ok(made) => made,
        Err(error) if error.kind == StoreErrorKind::Stale => {
            let (namespace, name) = (&document.namespace, &document.name);
            let known = Catalog::pipeline(&*api.store, namespace, name, None).await?;
            let known = known.ok_or_else(|| Problem::from(error))?;
            let is_the_same = known.document == document && known.reference.version == 1;
            if key.is_none() || !is_the_same {
                let detail = format!("there is a pipeline {namespace}/{name} already");
                return Err(Problem::conflict(detail));
            }
            known
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Created {
        location: format!("/api/v1/pipelines/{}", made.reference.id),
        body: made.into(),
    })
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Id(pipeline): Id<PipelineId>,
) -> Result<Versioned<ShownPipeline>, Problem> {
    current(&api, pipeline).await.map(Versioned::from)
}

pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(pipeline): Id<PipelineId>,
    IfMatch(version): IfMatch,
    Offered(document): Offered,
) -> Result<Versioned<ShownPipeline>, Problem> {
    let known = current(&api, pipeline).await?;
    for (pointer, is, was) in [
        ("/name", &document.name, &known.document.name),
        ("/namespace", &document.namespace, &known.document.namespace),
    ] {
        if is != was {
            let message = format!("this pipeline's is {was:?}, and stays: make another pipeline");
            return Err(Problem::unfit_at(pointer, message));
        }
    }
    let written = write(&api, &principal, &known, document, version).await?;
    Ok(written.into())
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Id(pipeline): Id<PipelineId>,
    MayMatch(version): MayMatch,
) -> Result<Done, Problem> {
    let known = current(&api, pipeline).await?.reference;
    if version.is_some_and(|version| version != known.version) {
        return Err(Problem::stale(known.version));
    }
    let removed = Catalog::remove_pipeline(&*api.store, &known.namespace, &known.name).await?;
    removed.then_some(Done).ok_or_else(Problem::not_found)
}

/// Without a document, the one that is stored: connectors may have become others since.
pub(super) async fn validate(
    State(api): State<Arc<Api>>,
    Id(pipeline): Id<PipelineId>,
    Any(document): Any,
) -> Result<Json<Checked>, Problem> {
    let known = current(&api, pipeline).await?;
    let faults = match document {
        Some(document) => etl_core::plan::check_value(document, &api.registry)
            .err()
            .unwrap_or_default(),
        None => etl_core::plan::validate(&known.document, &api.registry),
    };
    Ok(Json(Checked::of(faults)))
}

/// Versions have numbers without gaps: each is looked up by its own.
pub(super) async fn versions(
    State(api): State<Arc<Api>>,
    Id(pipeline): Id<PipelineId>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Listed>>, Problem> {
    let newest = current(&api, pipeline).await?.reference.version;
    let page = page(part.limit.as_deref(), part.cursor)?;
    let from = match &page.cursor {
        None => newest,
        Some(cursor) => cursor
            .0
            .parse()
            .ok()
            .filter(|from| (1..=newest).contains(from))
            .ok_or_else(|| Problem::parameter("cursor", "it is not one that this list gave"))?,
    };
    let last = from.saturating_sub(page.limit as u64) + 1;
    let mut items = Vec::new();
    for version in (last..=from).rev() {
        let found = Catalog::pipeline_version(&*api.store, pipeline, version).await?;
        items.extend(found.map(Listed::from));
    }
    let next = (last > 1).then(|| Cursor((last - 1).to_string()));
    Ok(Json(Page {
        items,
        next_cursor: next,
    }))
}

pub(super) async fn version(
    State(api): State<Arc<Api>>,
    Ids(pipeline, version): Ids<PipelineId, u64>,
) -> Result<Versioned<ShownPipeline>, Problem> {
    let newest = current(&api, pipeline).await?.reference.version;
    if !(1..=newest).contains(&version) {
        return Err(Problem::not_found());
    }
    let found = Catalog::pipeline_version(&*api.store, pipeline, version).await?;
    found.map(Versioned::from).ok_or_else(Problem::not_found)
}

/// The current version of a pipeline that is not removed.
pub(super) async fn current(api: &Api, id: PipelineId) -> Result<StoredPipeline, Problem> {
    let found = Catalog::pipeline_by_id(&*api.store, id).await?;
    found.ok_or_else(Problem::not_found)
}

/// Writes a pipeline's next version, if it still has this one.
pub(super) async fn write(
    api: &Api,
    principal: &Principal,
    known: &StoredPipeline,
    document: Pipeline,
    version: u64,
) -> Result<StoredPipeline, Problem> {
    match put(api, principal, &Arc::new(document), version).await {
        Ok(written) => Ok(written),
        Err(error) if error.kind == StoreErrorKind::Stale => {
            let now = current(api, known.reference.id).await?;
            Err(Problem::stale(now.reference.version))
        }
        Err(error) => Err(error.into()),
    }
}

async fn put(
    api: &Api,
    principal: &Principal,
    document: &Arc<Pipeline>,
    expected_version: u64,
) -> Result<StoredPipeline, StoreError> {
    let put = PutPipeline {
        document: Arc::clone(document),
        expected_version: Some(expected_version),
        by: By(principal.name.clone()),
    };
    let written = Catalog::put_pipeline(&*api.store, put).await?;
    let found = Catalog::pipeline_version(&*api.store, written.id, written.version).await?;
    found.ok_or_else(|| StoreError::new("put_pipeline", StoreErrorKind::NotFound))
}
