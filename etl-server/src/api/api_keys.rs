//! `/api-keys`: what programs of whoever has signed in sign in with. A key is shown once, when it is made.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use etl_core::contract::store::{CreateApiKey, RevokeApiKey};
use etl_core::model::{ApiKey, ApiKeyId, Page, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Api;
use super::answer::{Created, Done};
use super::body::Body;
use super::extract::Id;
use super::problem::Problem;
use super::route::{Access, Route};
use crate::identity::{Permission, Principal, Secret, TokenKind};

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::own("/api/v1/api-keys", list).says("The API keys of whoever asks"),
        Route::post("/api/v1/api-keys", Access::InPerson, create)
            .says("A new API key, which is shown this once"),
        Route::delete("/api/v1/api-keys/{id}", Access::InPerson, remove)
            .says("Removes an API key of whoever asks"),
    ]
}

/// How much of a key is shown for people to know it by.
const SHOWN: usize = 6;
/// How many keys a user may have.
const MOST: usize = 100;

/// A key to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// What it is for.
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// What it may be used for: permissions, as `/auth/me` lists them. It may never do more than its user.
    #[schemars(length(min = 1, max = 100))]
    scopes: Vec<String>,
    /// How long it is good; without it, for ever.
    #[schemars(range(min = 1, max = 3650))]
    expires_in_days: Option<u16>,
}

/// What is shown of a key.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownKey {
    id: ApiKeyId,
    name: String,
    /// How it begins.
    prefix: String,
    scopes: Vec<String>,
    expires_at: Option<Timestamp>,
    /// To about a minute.
    last_used_at: Option<Timestamp>,
    created_at: Timestamp,
}

/// A key that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MadeKey {
    /// The key itself: it is shown this once.
    key: Secret,
    #[serde(flatten)]
    shown: ShownKey,
}

impl From<ApiKey> for ShownKey {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            created_at: key.created_at,
        }
    }
}

/// The keys of whoever asks, the newest first, in one page.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Page<ShownKey>>, Problem> {
    let keys = api.accounts.api_keys(principal.user).await?;
    Ok(Json(Page {
        items: keys.into_iter().map(ShownKey::from).collect(),
        next_cursor: None,
    }))
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Body(body): Body<NewKey>,
) -> Result<Created<Json<MadeKey>>, Problem> {
    let known: Vec<String> = Permission::all().map(|one| one.to_string()).collect();
    for (at, scope) in body.scopes.iter().enumerate() {
        if !known.contains(scope) {
            let message = format!("it is one of {}", known.join(", "));
            return Err(Problem::unfit_at(format!("/scopes/{at}"), message));
        }
    }
    if api.accounts.api_keys(principal.user).await?.len() >= MOST {
        return Err(Problem::conflict(format!(
            "there are {MOST} keys already: remove one first"
        )));
    }
    let key = TokenKind::ApiKey
        .token()
        .map_err(|error| Problem::internal(&error))?;
    let text = key.expose();
    let hash = TokenKind::ApiKey
        .hash(text)
        .ok_or_else(Problem::not_found)?;
    let days = body.expires_in_days.map(u64::from);
    let create = CreateApiKey {
        id: ApiKeyId(Uuid::now_v7()),
        user: principal.user,
        name: body.name,
        prefix: text
            .chars()
            .take(TokenKind::ApiKey.prefix().len() + SHOWN)
            .collect(),
        hash,
        scopes: body.scopes,
        ttl: days.map(|days| Duration::from_hours(24 * days)),
    };
    let made = api.accounts.create_api_key(create).await?;
    let made = made.ok_or_else(Problem::not_found)?;
    Ok(Created {
        location: format!("/api/v1/api-keys/{}", made.id),
        body: Json(MadeKey {
            key,
            shown: made.into(),
        }),
    })
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(id): Id<ApiKeyId>,
) -> Result<Done, Problem> {
    let revoke = RevokeApiKey {
        user: principal.user,
        id,
    };
    let was_there = api.accounts.revoke_api_key(revoke).await?;
    api.identity.forget(principal.user);
    was_there.then_some(Done).ok_or_else(Problem::not_found)
}
