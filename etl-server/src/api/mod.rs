//! The REST API below `/api/v1`. Every route stands in one table together with the permission that it needs, so that there is
//! none without; handlers read what was asked, call what does it, and answer.

mod answer;
mod api_keys;
mod auth;
mod body;
mod caller;
mod connectors;
mod extract;
mod jobs;
mod limits;
pub(crate) mod openapi;
mod pipelines;
mod problem;
mod receive;
mod route;
#[cfg(test)]
mod tests;
mod users;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use etl_core::contract::Store;
use etl_core::contract::store::Accounts;
use etl_core::registry::Registry;

use crate::identity::{Action, Authenticate, Client, Identity, Principal, Refused, Resource};
pub(crate) use caller::Proxies;
use limits::Counted;
pub(crate) use limits::Limits;
use problem::Problem;
use receive::Turns;
use route::{Access, Route};

/// How many requests are worked on at once. Fewer than there may be clients, so that `/health` is answered beside them.
const REQUESTS: usize = 48;
/// How many of those are that have to do with signing in: refusals are told late, and keep no other request from its turn.
const SIGN_INS: usize = 16;

/// What handlers need.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) authenticate: Arc<dyn Authenticate>,
    pub(crate) limits: Limits,
    pub(crate) proxies: Proxies,
}

/// What stands before a route.
#[derive(Debug, Clone)]
struct Gate {
    api: Arc<Api>,
    access: Access,
    turns: Turns,
}

/// All ways in.
fn routes() -> Vec<Route> {
    let cancel = Access::to(Action::Cancel, Resource::Jobs);
    let to = |action| Access::to(action, Resource::Users);
    vec![
        Route::get("/api/v1/pipelines", Resource::Pipelines, pipelines::list)
            .says("The current versions of pipelines, by namespace and name, without their steps"),
        Route::get("/api/v1/jobs", Resource::Jobs, jobs::list).says("Jobs, newest first"),
        Route::get("/api/v1/jobs/{id}", Resource::Jobs, jobs::one).says("A job"),
        Route::post("/api/v1/jobs/{id}/cancel", cancel, jobs::cancel)
            .also(&[StatusCode::ACCEPTED])
            .says("Ends a job: 200 once it has ended, 202 while its worker is asked to end it"),
        Route::get("/api/v1/jobs/{id}/steps", Resource::Jobs, jobs::steps)
            .says("A job's step executions by position, the step itself before its items"),
        Route::get("/api/v1/connectors", Resource::Connectors, connectors::list)
            .says("What a step can be"),
        Route::get(
            "/api/v1/connectors/{name}",
            Resource::Connectors,
            connectors::one,
        )
        .says("A connector with its schemas"),
        Route::get(
            "/api/v1/connectors/{name}/schema",
            Resource::Connectors,
            connectors::schema,
        )
        .says("The JSON Schemas of a connector's configuration and of its credential"),
        Route::post("/api/v1/auth/login", Access::Open, auth::login)
            .says("Signs in with a password, or asks for the second factor"),
        Route::post("/api/v1/auth/setup", Access::Open, auth::setup)
            .says("Makes the first admin and signs them in"),
        Route::post("/api/v1/auth/refresh", Access::Open, auth::refresh)
            .says("The next access token and refresh token of a session"),
        Route::post("/api/v1/auth/logout", Access::InPerson, auth::logout)
            .says("Ends the session that asks"),
        Route::known("/api/v1/auth/me", auth::me).says("Who has signed in, and what they may do"),
        Route::own("/api/v1/auth/sessions", auth::sessions)
            .says("The sessions of whoever asks, the newest first"),
        Route::delete(
            "/api/v1/auth/sessions/{id}",
            Access::InPerson,
            auth::end_session,
        )
        .says("Ends a session of whoever asks"),
        Route::post("/api/v1/auth/password", Access::InPerson, auth::password)
            .says("Another password: every session ends and a new one begins"),
        Route::post("/api/v1/auth/mfa/enroll", Access::InPerson, auth::enroll)
            .says("A new second factor, which is on once its first code was right"),
        Route::post("/api/v1/auth/mfa/verify", Access::Open, auth::verify)
            .says("A code: goes on with a sign-in, or turns a new second factor on"),
        Route::post("/api/v1/auth/mfa/disable", Access::InPerson, auth::disable)
            .says("No second factor any more: every session ends and a new one begins"),
        Route::get("/api/v1/users", Resource::Users, users::list).says("Users, the oldest first"),
        Route::post("/api/v1/users", to(Action::Create), users::create).says("A new user"),
        Route::get("/api/v1/users/{id}", Resource::Users, users::one).says("A user"),
        Route::put("/api/v1/users/{id}", to(Action::Update), users::update)
            .says("Makes a user different; another password or role ends their sessions"),
        Route::delete("/api/v1/users/{id}", to(Action::Delete), users::remove)
            .says("Removes a user with all that is theirs"),
        Route::get(
            "/api/v1/users/{id}/sessions",
            Resource::Users,
            users::sessions,
        )
        .says("The sessions of a user, the newest first"),
        Route::delete(
            "/api/v1/users/{id}/sessions",
            to(Action::Update),
            users::end_sessions,
        )
        .says("Ends all sessions of a user"),
        Route::delete(
            "/api/v1/users/{id}/mfa",
            to(Action::Update),
            users::remove_factor,
        )
        .says("Takes the second factor of a user away who lost it, and ends their sessions"),
        Route::own("/api/v1/api-keys", api_keys::list).says("The API keys of whoever asks"),
        Route::post("/api/v1/api-keys", Access::InPerson, api_keys::create)
            .says("A new API key, which is shown this once"),
        Route::delete("/api/v1/api-keys/{id}", Access::InPerson, api_keys::remove)
            .says("Removes an API key of whoever asks"),
        Route::known("/api/v1/openapi.json", openapi::describe).says("This description"),
    ]
}

/// The API, to be served beside `/health`. What is nowhere is answered by it as well.
pub(crate) fn router(api: Api) -> Router {
    let api = Arc::new(api);
    let mut router = Router::new();
    let turns = Turns::new(REQUESTS);
    let sign_ins = Turns::new(SIGN_INS);
    for route in routes() {
        let gate = Gate {
            api: Arc::clone(&api),
            access: route.access,
            turns: match route.access {
                Access::Open | Access::InPerson => sign_ins.clone(),
                Access::SignedIn | Access::With(_) => turns.clone(),
            },
        };
        let handler = route.handler.route_layer(from_fn_with_state(gate, enter));
        router = router.route(route.path, handler);
    }
    router
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this can't be done to it")
        })
        .fallback(|| async { Problem::not_found() })
        .layer(from_fn(guard))
        .with_state(api)
}

/// Finds out who asks and whether they may, takes in what they sent, and has it worked on; handlers find who asks as an extension
/// of the request. In this order, so that strangers cost little and slow senders keep nobody from working.
async fn enter(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Result<Response, Response> {
    let address = gate.api.proxies.caller(&request);
    let client = Client {
        address,
        agent: agent(request.headers()),
    };
    request.extensions_mut().insert(client);
    let counted = if gate.access == Access::Open {
        let counted = gate.api.limits.stranger(address).await;
        counted.map_err(IntoResponse::into_response)?;
        None
    } else {
        let (principal, counted) = known(&gate, address, request.headers()).await?;
        request.extensions_mut().insert(principal);
        counted
    };
    let answered = match receive::whole(request).await {
        Ok(request) => gate.turns.work(next.run(request)).await,
        Err(problem) => Err(problem),
    };
    let mut response = answered.map_err(IntoResponse::into_response)?;
    if let Some(counted) = counted {
        counted.tell(response.headers_mut());
    }
    Ok(response)
}

/// Who asks, if they may come in here and do not ask too often.
async fn known(
    gate: &Gate,
    address: IpAddr,
    headers: &HeaderMap,
) -> Result<(Principal, Option<Counted>), Response> {
    let api = &gate.api;
    let principal = match api.authenticate.principal(authorization(headers)).await {
        Ok(principal) => principal,
        Err(Refused::Store(error)) => return Err(Problem::from(error).into_response()),
        Err(refused) => {
            tracing::debug!(%refused, %address, "refused");
            let counted = api.limits.stranger(address).await;
            counted.map_err(IntoResponse::into_response)?;
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "sign in first");
            return Err(problem.into_response());
        }
    };
    let counted = api.limits.known(&principal.name).await;
    let counted = counted.map_err(IntoResponse::into_response)?;
    authorize(&principal, gate.access).map_err(IntoResponse::into_response)?;
    Ok((principal, counted))
}

/// Answers are data: no browser is to make anything else of them, show them in a frame or keep them.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The one decision whether somebody may come in.
fn authorize(principal: &Principal, access: Access) -> Result<(), Problem> {
    let detail = match access {
        Access::Open | Access::SignedIn => return Ok(()),
        Access::InPerson if principal.session().is_some() => return Ok(()),
        Access::With(needs) if principal.may(needs) => return Ok(()),
        Access::InPerson => "no API key may do this: sign in with a password".to_owned(),
        Access::With(needs) => format!("this needs the permission {needs}"),
    };
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

/// The header, if there is one and no second that could mean somebody else.
fn authorization(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

/// What the client says that it is.
fn agent(headers: &HeaderMap) -> String {
    let said = headers.get(header::USER_AGENT);
    let said = said.and_then(|said| said.to_str().ok());
    said.unwrap_or_default().to_owned()
}
