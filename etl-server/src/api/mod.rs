//! The REST API below `/api/v1`. Every route stands in one table together with the permission that it needs, so that there is
//! none without; handlers read what was asked, call what does it, and answer.

mod answer;
mod api_keys;
mod audit;
mod auth;
mod body;
mod caller;
mod connectors;
mod credentials;
mod dead_letters;
mod extract;
mod jobs;
mod limits;
mod live;
mod metrics;
pub(crate) mod openapi;
mod pipelines;
mod problem;
mod receive;
mod route;
mod schedules;
#[cfg(test)]
mod tests;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use etl_core::artifact::ArtifactStorage;
use etl_core::contract::store::{Accounts, AuditLog, LetterStore};
use etl_core::contract::{Queue, Store, acting};
use etl_core::model::{Actor, AuditEntry, Hint, JobId};
use etl_core::registry::Registry;
use etl_vault::Vault;
use tokio::time::timeout;
use uuid::Uuid;

use crate::identity::{Authenticate, Client, Identity, Principal, Refused};
use crate::live::Live;
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

/// What a client says of itself is kept up to here, in characters.
const LONGEST_AGENT: usize = 200;
/// The header that has the request's number.
const REQUEST_ID: &str = "x-request-id";

/// How long the queue is waited for: the store has the job, and workers ask it.
const HINT_PATIENCE: Duration = Duration::from_secs(1);

/// What handlers need.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Arc<dyn Store>,
    /// Tells workers of new jobs; none where nobody would listen.
    pub(crate) queue: Option<Arc<dyn Queue>>,
    /// Where artifacts and archived logs are.
    pub(crate) storage: ArtifactStorage,
    pub(crate) vault: Vault,
    pub(crate) registry: Arc<Registry>,
    pub(crate) accounts: Arc<dyn Accounts>,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) letters: Arc<dyn LetterStore>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) authenticate: Arc<dyn Authenticate>,
    pub(crate) limits: Limits,
    pub(crate) proxies: Proxies,
    pub(crate) live: Arc<Live>,
    /// Of pages, beside the server's own, that may open WebSockets.
    pub(crate) allowed_origins: Vec<String>,
}

impl Api {
    /// Tells whoever may run new jobs at once, and does not wait for it: without it they find them when they next ask the store.
    fn tell_workers(&self, jobs: impl IntoIterator<Item = JobId>, priority: u8) {
        let hints: Vec<Hint> = jobs.into_iter().map(|job| Hint { job, priority }).collect();
        let Some(queue) = self.queue.clone().filter(|_| !hints.is_empty()) else {
            return;
        };
        tokio::spawn(async move {
            let told = timeout(HINT_PATIENCE, queue.publish(&hints)).await;
            let problem = match told {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the queue does not answer".into(),
            };
            tracing::warn!(
                problem,
                "the workers were not told of new jobs; they find them within seconds"
            );
        });
    }
}

/// What stands before a route.
#[derive(Debug, Clone)]
struct Gate {
    api: Arc<Api>,
    path: &'static str,
    access: Access,
    takes_ticket: bool,
    turns: Turns,
}

/// All ways in.
fn routes() -> Vec<Route> {
    [
        pipelines::routes(),
        jobs::routes(),
        dead_letters::routes(),
        live::routes(),
        schedules::routes(),
        connectors::routes(),
        credentials::routes(),
        auth::routes(),
        users::routes(),
        api_keys::routes(),
        audit::routes(),
        metrics::routes(),
        openapi::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
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
            path: route.path,
            access: route.access,
            takes_ticket: route.takes_ticket,
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

/// Gives the request a number, by which it is found in the log and in the audit log.
async fn enter(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let address = gate.api.proxies.caller(&request);
    let client = Client {
        address,
        agent: agent(request.headers()),
    };
    let number = Uuid::now_v7().simple().to_string();
    let stranger = Arc::new(Actor {
        ip_address: Some(address.to_string()),
        user_agent: Some(client.agent.clone()).filter(|agent| !agent.is_empty()),
        trace_id: Some(number.clone()),
        ..Actor::default()
    });
    request.extensions_mut().insert(client);
    let answered = pass(&gate, request, next, address, &stranger);
    let answered = acting(Arc::clone(&stranger), answered).await;
    let mut response = answered.unwrap_or_else(|refused| refused);
    if let Ok(number) = HeaderValue::try_from(number) {
        response.headers_mut().insert(REQUEST_ID, number);
    }
    response
}

/// Finds out who asks and whether they may, takes in what they sent, and has it worked on; handlers find who asks as an extension
/// of the request. In this order, so that strangers cost little and slow senders keep nobody from working.
async fn pass(
    gate: &Gate,
    mut request: Request,
    next: Next,
    address: IpAddr,
    stranger: &Arc<Actor>,
) -> Result<Response, Response> {
    let (actor, counted) = if gate.access == Access::Open {
        let counted = gate.api.limits.stranger(address).await;
        counted.map_err(IntoResponse::into_response)?;
        (Arc::clone(stranger), None)
    } else {
        let shown = Shown {
            ticket: ticket_of(request.uri()).filter(|_| gate.takes_ticket),
            headers: request.headers(),
        };
        let (principal, counted) = known(gate, address, shown, stranger).await?;
        let actor = Arc::new(principal.as_actor(stranger));
        request.extensions_mut().insert(principal);
        (actor, counted)
    };
    let answered = match receive::whole(request).await {
        Ok(request) => gate.turns.work(acting(actor, next.run(request))).await,
        Err(problem) => Err(problem),
    };
    let mut response = answered.map_err(IntoResponse::into_response)?;
    if gate.access == Access::Open && response.status() == StatusCode::UNAUTHORIZED {
        // The throttle bounds how often.
        let refused = AuditEntry::new("session.refuse", "route", gate.path);
        let noted = gate.api.audit.note(stranger, refused).await;
        noted.map_err(|error| Problem::from(error).into_response())?;
    }
    if let Some(counted) = counted {
        counted.tell(response.headers_mut());
    }
    Ok(response)
}

/// By what a request shows who asks.
struct Shown<'a> {
    ticket: Option<String>,
    headers: &'a HeaderMap,
}

/// Who asks, if they may come in here and do not ask too often.
async fn known(
    gate: &Gate,
    address: IpAddr,
    shown: Shown<'_>,
    stranger: &Actor,
) -> Result<(Principal, Option<Counted>), Response> {
    let api = &gate.api;
    let found = match shown.ticket {
        Some(ticket) => api.identity.by_ticket(&ticket).await,
        None => {
            let header = authorization(shown.headers);
            api.authenticate.principal(header).await
        }
    };
    let principal = match found {
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
    if let Err(refused) = authorize(&principal, gate.access) {
        let wanted = match gate.access {
            Access::With(permission) => permission.to_string(),
            Access::Open | Access::SignedIn | Access::InPerson => "in person".to_owned(),
        };
        let denied = AuditEntry::new("access.deny", "permission", wanted);
        let noted = api.audit.note(&principal.as_actor(stranger), denied).await;
        noted.map_err(|error| Problem::from(error).into_response())?;
        return Err(refused.into_response());
    }
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

/// The ticket in the query, if there is one.
fn ticket_of(uri: &Uri) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct ByTicket {
        ticket: String,
    }
    let query = axum::extract::Query::<ByTicket>::try_from_uri(uri);
    query.ok().map(|query| query.0.ticket)
}

/// What the client says that it is.
fn agent(headers: &HeaderMap) -> String {
    let said = headers.get(header::USER_AGENT);
    let said = said.and_then(|said| said.to_str().ok());
    said.unwrap_or_default()
        .chars()
        .take(LONGEST_AGENT)
        .collect()
}
