//! `/credentials`: stored and tried, and never told again.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use etl_core::contract::store::{CredentialStore, SealedCredential};
use etl_core::contract::{CredentialError, Credentials, Tested};
use etl_core::document::{Shape, Templates};
use etl_core::model::{By, CredentialId, ErrorClass, Page, Timestamp};
use etl_vault::VaultError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::Api;
use super::answer::{Created, Done, Versioned};
use super::body::Body;
use super::extract::{Id, IdempotencyKey, IfMatch, MayMatch, Part, Query, page};
use super::problem::Problem;
use super::route::{Access, Route};
use crate::identity::{Action, Principal, Resource};

/// How long a connector may try a credential.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    let to = |action| Access::to(action, Resource::Credentials);
    vec![
        Route::get("/api/v1/credentials", Resource::Credentials, list)
            .says("Credentials without their secrets, by namespace and name"),
        Route::post("/api/v1/credentials", to(Action::Create), create).says("A new credential"),
        Route::get("/api/v1/credentials/{id}", Resource::Credentials, one)
            .says("A credential without its secret"),
        Route::put("/api/v1/credentials/{id}", to(Action::Update), update)
            .says("Another secret for a credential; attempts that start from now on get it"),
        Route::delete("/api/v1/credentials/{id}", to(Action::Delete), remove)
            .says("Removes a credential"),
        Route::post("/api/v1/credentials/{id}/test", to(Action::Update), test)
            .says("Has the connector try a credential where it leads to"),
    ]
}

/// What is shown of a credential.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Credential")]
pub(crate) struct ShownCredential {
    id: CredentialId,
    namespace: String,
    name: String,
    connector_type: String,
    version: u64,
    /// The key that it is sealed with.
    key_id: String,
    created_by: By,
    created_at: Timestamp,
    /// When its secret was last changed.
    updated_at: Timestamp,
}

impl From<SealedCredential> for ShownCredential {
    fn from(stored: SealedCredential) -> Self {
        Self {
            id: stored.id,
            namespace: stored.namespace,
            name: stored.name,
            connector_type: stored.connector_type,
            version: stored.version,
            key_id: stored.key_id,
            created_by: stored.created_by,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }
}

impl From<SealedCredential> for Versioned<ShownCredential> {
    fn from(stored: SealedCredential) -> Self {
        Self {
            version: stored.version,
            body: stored.into(),
        }
    }
}

/// A credential to store.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCredential {
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,254}$"))]
    namespace: String,
    /// By which steps ask for it.
    #[schemars(length(min = 1, max = 255))]
    name: String,
    /// The connector that it is for.
    connector_type: String,
    /// What that connector takes: see its `credential_schema`.
    #[schemars(extend("writeOnly" = true))]
    secret: Map<String, Value>,
}

fn default_namespace() -> String {
    "default".into()
}

/// Another secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EditedCredential {
    /// What the credential's connector takes: see its `credential_schema`.
    #[schemars(extend("writeOnly" = true))]
    secret: Map<String, Value>,
}

/// What came of a try.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CredentialTest {
    /// Whether it can be used, as far as it was tried.
    ok: bool,
    /// How far it was tried.
    tested: Option<Tested>,
    /// Why it can't be used.
    error_class: Option<ErrorClass>,
}

/// Credentials by namespace and name.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<ShownCredential>>, Problem> {
    let page = page(part.limit.as_deref(), part.cursor)?;
    let stored = CredentialStore::credentials(&*api.store, &page).await;
    let stored = stored.map_err(Problem::of_list)?;
    Ok(Json(Page {
        items: stored.items.into_iter().map(Into::into).collect(),
        next_cursor: stored.next_cursor,
    }))
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Id(id): Id<CredentialId>,
) -> Result<Versioned<ShownCredential>, Problem> {
    credential_of(&api, id).await.map(Versioned::from)
}

/// With a key, whoever lost the answer asks again: a credential of this name, connector and secret at its first version is it.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    key: IdempotencyKey,
    Body(body): Body<NewCredential>,
) -> Result<Created<Versioned<ShownCredential>>, Problem> {
    let connector = &body.connector_type;
    check(&api, connector, &body.secret)?;
    let place = (body.namespace.as_str(), body.name.as_str());
    let stored = match seal(&api, 0, place, connector, &body.secret, &principal).await {
        Err(VaultError::Stale { .. }) => {
            let (namespace, name) = place;
            let known = CredentialStore::credential(&*api.store, namespace, name).await?;
            let opened = Credentials::open(&api.vault, namespace, name, connector).await;
            let is_the_same = opened.is_ok_and(|secret| secret == Value::Object(body.secret));
            known
                .filter(|known| !key.is_none() && is_the_same && known.version == 1)
                .ok_or_else(|| {
                    Problem::conflict(format!("there is a credential {namespace}/{name} already"))
                })?
        }
        sealed => sealed?,
    };
    Ok(Created {
        location: format!("/api/v1/credentials/{}", stored.id),
        body: stored.into(),
    })
}

pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(id): Id<CredentialId>,
    IfMatch(version): IfMatch,
    Body(body): Body<EditedCredential>,
) -> Result<Versioned<ShownCredential>, Problem> {
    let known = credential_of(&api, id).await?;
    if version != known.version {
        return Err(Problem::stale(known.version));
    }
    let connector = &known.connector_type;
    check(&api, connector, &body.secret)?;
    let place = (known.namespace.as_str(), known.name.as_str());
    let sealed = seal(&api, version, place, connector, &body.secret, &principal).await?;
    Ok(sealed.into())
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Id(id): Id<CredentialId>,
    MayMatch(version): MayMatch,
) -> Result<Done, Problem> {
    let known = credential_of(&api, id).await?;
    if version.is_some_and(|version| version != known.version) {
        return Err(Problem::stale(known.version));
    }
    let removed = api.vault.remove(&known.namespace, &known.name).await?;
    removed.then_some(Done).ok_or_else(Problem::not_found)
}

/// What the connector says stays in the log of nobody: it may quote the secret.
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    Id(id): Id<CredentialId>,
) -> Result<Json<CredentialTest>, Problem> {
    let known = credential_of(&api, id).await?;
    let name = &known.connector_type;
    let opened = Credentials::open(&api.vault, &known.namespace, &known.name, name).await;
    let failed = |class| CredentialTest {
        ok: false,
        tested: None,
        error_class: Some(class),
    };
    let secret = match opened {
        Ok(secret) => secret,
        Err(CredentialError::Missing(_)) => return Err(Problem::not_found()),
        Err(_) => return Ok(Json(failed(ErrorClass::Auth))),
    };
    let Some(connector) = api.registry.connector(name) else {
        return Ok(Json(failed(ErrorClass::Permanent)));
    };
    let tried = tokio::time::timeout(PATIENCE, connector.test_dyn(secret)).await;
    Ok(Json(match tried {
        Ok(Ok(tested)) => CredentialTest {
            ok: true,
            tested: Some(tested),
            error_class: None,
        },
        Ok(Err(error)) => failed(error.class),
        Err(_) => failed(ErrorClass::Transient),
    }))
}

async fn credential_of(api: &Api, id: CredentialId) -> Result<SealedCredential, Problem> {
    let found = CredentialStore::credential_by_id(&*api.store, id).await?;
    found.ok_or_else(Problem::not_found)
}

/// That there is such a connector and that it takes this. What is wrong with a secret is told by its place alone.
fn check(api: &Api, connector: &str, secret: &Map<String, Value>) -> Result<(), Problem> {
    let found = api.registry.connector(connector);
    let schema = found.map(|found| found.info().credential_schema);
    let schema = match schema {
        None => {
            let message = "there is no such connector: GET /connectors lists them";
            return Err(Problem::unfit_at("/connector_type", message));
        }
        Some(Value::Null) => {
            let message = "steps of this connector take no credential";
            return Err(Problem::unfit_at("/connector_type", message));
        }
        Some(schema) => schema,
    };
    let shape = Shape::new(schema, Templates::AreText).map_err(|error| {
        tracing::error!(connector, error, "a connector's schema can't be used");
        Problem::unfit_at("/connector_type", "its credentials can't be checked")
    })?;
    let faults = shape.faults(&Value::Object(secret.clone()));
    if faults.is_empty() {
        return Ok(());
    }
    Err(Problem::unfit(faults.into_iter().map(|fault| {
        etl_core::model::Fault::new(
            format!("/secret{}", fault.pointer),
            "it is not what the connector takes: see its `credential_schema`",
        )
    })))
}

async fn seal(
    api: &Api,
    version: u64,
    place: (&str, &str),
    connector: &str,
    secret: &Map<String, Value>,
    principal: &Principal,
) -> Result<SealedCredential, VaultError> {
    let text = serde_json::to_vec(secret).map(Zeroizing::new);
    let text = text.map_err(|error| VaultError::Invalid(error.to_string()))?;
    let by = By(principal.name.clone());
    api.vault
        .set_if(version, place, connector, &text, &by)
        .await
}
