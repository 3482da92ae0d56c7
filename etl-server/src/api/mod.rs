//! The REST API below `/api/v1`. Every route stands in one table together with the permission that it needs, so that there is
//! none without; handlers read what was asked, call what does it, and answer.

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

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use etl_core::contract::Store;
use etl_core::registry::Registry;

use crate::identity::{Action, Authenticate, Permission, Principal, Resource};
pub(crate) use caller::Proxies;
pub(crate) use limits::Limits;
use problem::Problem;
use receive::Turns;
use route::{Access, Route};

/// How many requests are worked on at once. Fewer than there may be clients, so that `/health` is answered beside them.
const REQUESTS: usize = 48;

/// What handlers need.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<Registry>,
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
        Route::known("/api/v1/openapi.json", openapi::describe).says("This description"),
    ]
}

/// The API, to be served beside `/health`. What is nowhere is answered by it as well.
pub(crate) fn router(api: Api) -> Router {
    let api = Arc::new(api);
    let mut router = Router::new();
    let turns = Turns::new(REQUESTS);
    for route in routes() {
        let gate = Gate {
            api: Arc::clone(&api),
            access: route.access,
            turns: turns.clone(),
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
    let Gate { api, access, turns } = gate;
    let authorization = authorization(request.headers());
    let principal = match api.authenticate.principal(authorization).await {
        Ok(principal) => principal,
        Err(refused) => {
            tracing::debug!(%refused, path = request.uri().path(), "refused");
            let counted = api.limits.stranger(api.proxies.caller(&request)).await;
            counted.map_err(IntoResponse::into_response)?;
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "sign in first");
            return Err(problem.into_response());
        }
    };
    let counted = api.limits.known(&principal.name).await;
    let counted = counted.map_err(IntoResponse::into_response)?;
    if let Access::With(needs) = access {
        authorize(&principal, needs).map_err(IntoResponse::into_response)?;
    }
    request.extensions_mut().insert(principal);
    let answered = match receive::whole(request).await {
        Ok(request) => turns.work(next.run(request)).await,
        Err(problem) => Err(problem),
    };
    let mut response = answered.map_err(IntoResponse::into_response)?;
    if let Some(counted) = counted {
        counted.tell(response.headers_mut());
    }
    Ok(response)
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

/// The one decision whether somebody may do something.
fn authorize(principal: &Principal, needs: Permission) -> Result<(), Problem> {
    if principal.may(needs) {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("this needs the permission {needs}"),
        ))
    }
}

/// The header, if there is one and no second that could mean somebody else.
fn authorization(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}
