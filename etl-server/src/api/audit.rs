//! `/audit`: who did what.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use etl_core::model::{AuditFilter, AuditRecord, Page, Timestamp, UserId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Api;
use super::extract::{Limit, Query, page, parameter};
use super::problem::Problem;
use super::route::Route;
use crate::identity::Resource;

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/audit", Resource::Audit, list)
            .says("Who did what, and what was refused, newest first"),
    ]
}

/// Which rows a list has, and which part of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    #[schemars(with = "Limit")]
    limit: Option<String>,
    cursor: Option<String>,
    #[schemars(with = "UserId")]
    user_id: Option<String>,
    /// What was done, as `RESOURCE.VERB`.
    action: Option<String>,
    resource_type: Option<String>,
    resource_id: Option<String>,
    /// At or after.
    #[schemars(with = "Timestamp")]
    from: Option<String>,
    /// Before.
    #[schemars(with = "Timestamp")]
    to: Option<String>,
}

/// Rows, newest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<AuditRecord>>, Problem> {
    let filter = AuditFilter {
        user_id: parameter("user_id", wanted.user_id.as_deref())?,
        from: parameter("from", wanted.from.as_deref())?,
        to: parameter("to", wanted.to.as_deref())?,
        action: wanted.action,
        resource_type: wanted.resource_type,
        resource_id: wanted.resource_id,
    };
    let page = page(wanted.limit.as_deref(), wanted.cursor)?;
    let rows = api.audit.audit(&filter, &page).await;
    rows.map(Json).map_err(Problem::of_list)
}
