//! `/connectors`: what a step can be.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use etl_core::contract::ConnectorInfo;
use etl_core::model::Page;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Api;
use super::extract::Id;
use super::problem::Problem;
use super::route::Route;
use crate::identity::Resource;

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/connectors", Resource::Connectors, list).says("What a step can be"),
        Route::get("/api/v1/connectors/{name}", Resource::Connectors, one)
            .says("A connector with its schemas"),
        Route::get(
            "/api/v1/connectors/{name}/schema",
            Resource::Connectors,
            schema,
        )
        .says("The JSON Schemas of a connector's configuration and of its credential"),
    ]
}

/// What a connector takes, as JSON Schema (2020-12).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConnectorSchemas")]
pub(super) struct Schemas {
    /// Of a step's `config`.
    config_schema: Value,
    /// Of its credential; `null` if it takes none.
    credential_schema: Value,
}

/// All of them, by name, in one page.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<Page<ConnectorInfo>> {
    let connectors = api.registry.connectors();
    Json(Page {
        items: connectors.map(|(_, connector)| connector.info()).collect(),
        next_cursor: None,
    })
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Id(name): Id<String>,
) -> Result<Json<ConnectorInfo>, Problem> {
    info(&api, &name).map(Json)
}

/// Its schemas alone.
pub(super) async fn schema(
    State(api): State<Arc<Api>>,
    Id(name): Id<String>,
) -> Result<Json<Schemas>, Problem> {
    let info = info(&api, &name)?;
    Ok(Json(Schemas {
        config_schema: info.config_schema,
        credential_schema: info.credential_schema,
    }))
}

fn info(api: &Api, name: &str) -> Result<ConnectorInfo, Problem> {
    let connector = api.registry.connector(name);
    Ok(connector.ok_or_else(Problem::not_found)?.info())
}
