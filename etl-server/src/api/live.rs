//! Live events: `/ws` and its tickets, and the events of one job as a stream.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use etl_core::model::JobId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use super::extract::{Id, Query, parameter};
use super::openapi::{Gives, Operation, Shapes, Takes};
use super::problem::Problem;
use super::route::{Access, Route};
use crate::identity::{Action, Principal, Resource, Secret, TICKET_LIFE};
use crate::live::{Place, stream, talk};

/// The longest message of a client, in bytes.
const LONGEST_MESSAGE: usize = 64 * 1024;
/// How often a stream that has nothing to tell says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Where a client that lost its stream goes on.
const LAST_EVENT_ID: &str = "last-event-id";

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/ws/ticket",
            Access::to(Action::Read, Resource::Jobs),
            ticket,
        )
        .says("A ticket for a WebSocket, good once"),
        Route::get("/api/v1/ws", Resource::Jobs, open)
            .by_ticket()
            .says("A WebSocket that tells what happens"),
        Route::get("/api/v1/jobs/{id}/events", Resource::Jobs, events)
            .says("Everything of a job as server-sent events, until its end"),
    ]
}

/// A ticket.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ticket {
    /// For `/ws?ticket=…`.
    ticket: Secret,
    /// In seconds.
    expires_in: u64,
}

pub(super) async fn ticket(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Ticket>, Problem> {
    Ok(Json(Ticket {
        ticket: api.identity.ticket(&principal).await?,
        expires_in: TICKET_LIFE.as_secs(),
    }))
}

/// The gate has read it before.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ByTicket {
    /// In place of the header `Authorization`.
    #[serde(rename = "ticket")]
    _ticket: Option<String>,
}

/// What makes a WebSocket of a connection.
pub(super) struct Upgrade(WebSocketUpgrade);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
        upgrade.map(Self).map_err(|rejection| {
            Problem::new(
                StatusCode::UPGRADE_REQUIRED,
                format!("a WebSocket is opened here: {}", rejection.body_text()),
            )
        })
    }
}

impl Takes for Upgrade {
    fn take(operation: &mut Operation, _: &mut Shapes) {
        operation.refuses(&[StatusCode::UPGRADE_REQUIRED, StatusCode::FORBIDDEN]);
    }
}

/// Where the request comes from, as a browser says it.
pub(super) struct Origin(Result<(), Problem>);

impl FromRequestParts<Arc<Api>> for Origin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        api: &Arc<Api>,
    ) -> Result<Self, Self::Rejection> {
        let is_allowed = is_own_or_allowed(&parts.headers, &api.allowed_origins);
        let foreign = || {
            Problem::new(
                StatusCode::FORBIDDEN,
                "pages of this origin may not watch: see allowed_origins",
            )
        };
        Ok(Self(is_allowed.then_some(()).ok_or_else(foreign)))
    }
}

impl Takes for Origin {}

/// Browsers send the origin of the page, and other programs send none.
fn is_own_or_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return true,
        (Some(only), None) => only.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return false,
    };
    if allowed.iter().any(|allowed| allowed == origin) {
        return true;
    }
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    matches!(scheme, "http" | "https")
        && host.is_some_and(|host| !host.is_empty() && host.eq_ignore_ascii_case(authority))
}

/// The connection is a WebSocket from now on.
pub(super) struct Switched(Response);

impl IntoResponse for Switched {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Gives for Switched {
    fn give(operation: &mut Operation, _: &mut Shapes) {
        operation.gives(StatusCode::SWITCHING_PROTOCOLS, None);
    }
}

pub(super) async fn open(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(_): Query<ByTicket>,
    Origin(origin): Origin,
    Upgrade(upgrade): Upgrade,
) -> Result<Switched, Problem> {
    origin?;
    let place = place(&api, &principal)?;
    let (live, authenticate) = (Arc::clone(&api.live), Arc::clone(&api.authenticate));
    let switched = upgrade
        .max_message_size(LONGEST_MESSAGE)
        .max_frame_size(LONGEST_MESSAGE)
        .on_upgrade(move |socket| talk(socket, live, authenticate, principal, place));
    Ok(Switched(switched))
}

fn place(api: &Api, principal: &Principal) -> Result<Place, Problem> {
    let place = api.live.enter(principal.user);
    place.ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many watch at once: end one of your connections, or try again",
        )
    })
}

/// From where on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct From {
    /// After the line with this `seq`. Without it, and without the header `Last-Event-ID`, from now on.
    #[schemars(with = "u64")]
    after_seq: Option<String>,
}

/// The header `Last-Event-ID`, which browsers send when they connect again.
pub(super) struct LastEvent(Option<u64>);

impl<S: Sync> FromRequestParts<S> for LastEvent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(id) = parts.headers.get(LAST_EVENT_ID) else {
            return Ok(Self(None));
        };
        let id = id.to_str().ok().and_then(|id| id.parse().ok());
        id.map(|id| Self(Some(id))).ok_or_else(|| {
            let detail = "Last-Event-ID is the id of an event of this stream";
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })
    }
}

impl Takes for LastEvent {
    fn take(operation: &mut Operation, _: &mut Shapes) {
        operation.header("Last-Event-ID", json!({ "type": "integer", "minimum": 0 }));
    }
}

/// Events as they come.
pub(super) struct Events(Response);

impl IntoResponse for Events {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Gives for Events {
    fn give(operation: &mut Operation, _: &mut Shapes) {
        operation.gives(StatusCode::OK, Some(json!({ "type": "string" })));
        operation.media_type = "text/event-stream";
    }
}

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(job): Id<JobId>,
    Query(from): Query<From>,
    LastEvent(last): LastEvent,
) -> Result<Events, Problem> {
    let after: Option<u64> = parameter("after_seq", from.after_seq.as_deref())?;
    let place = place(&api, &principal)?;
    let (live, authenticate) = (Arc::clone(&api.live), Arc::clone(&api.authenticate));
    let events = stream(live, authenticate, principal, place, job, last.or(after)).await?;
    let events = events.ok_or_else(Problem::not_found)?;
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Events(
        Sse::new(events).keep_alive(keep_alive).into_response(),
    ))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_pages_of_the_server_and_of_allowed_origins_may_watch() {
        let allowed = ["https://ui.example.org".to_owned()];
        let is_allowed = |host: &str, origins: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            is_own_or_allowed(&headers, &allowed)
        };
        let host = "etl.example.org:8000";
        for good in [
            &[][..],
            &["http://etl.example.org:8000"],
            &["https://ETL.example.org:8000"],
            &["https://ui.example.org"],
        ] {
            assert!(is_allowed(host, good), "{good:?}");
        }
        let mut hostile: Vec<String> = ["null", "", "file://", "https://", "etl.example.org:8000"]
            .map(Into::into)
            .into();
        for scheme in [
            "http",
            "https",
            "ws",
            "file",
            "data",
            "javascript",
            "chrome-extension",
        ] {
            for authority in [
                "evil.example",
                "etl.example.org",
                "etl.example.org:80",
                "etl.example.org:8001",
                "etl.example.org:8000.evil.example",
                "etl.example.org:8000@evil.example",
                "evil.example#etl.example.org:8000",
                "evil.example/etl.example.org:8000",
                "evil.example?etl.example.org:8000",
                "xetl.example.org:8000",
                "etl.example.org:8000/",
                "etl.example.org:8000 ",
                " etl.example.org:8000",
                "ui.example.org.evil.example",
                "ui.example.org:8000",
                "[::1]:8000",
                "127.0.0.1:8000",
                "localhost:8000",
                "etl.example.org:08000",
                "etl%2eexample.org:8000",
                "etl.example.org.:8000",
                "*",
                "",
                "user:password@etl.example.org:8000",
                "etl.example.org:8000,https://ui.example.org",
                "xn--etl.example.org:8000",
                "etl.example.org:8000\\evil.example",
                "https://etl.example.org:8000",
            ] {
                hostile.push(format!("{scheme}://{authority}"));
            }
        }
        assert!(hostile.len() >= 200, "{}", hostile.len());
        for origin in &hostile {
            assert!(!is_allowed(host, &[origin]), "{origin}");
        }
        let good = "http://etl.example.org:8000";
        assert!(!is_allowed(host, &[good, "http://evil.example"]));
        assert!(!is_allowed("", &["http://"]));
    }
}
