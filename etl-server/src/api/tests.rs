//! The whole router over a store in memory: who gets in, and how what is wrong is told.

use std::path::Path;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use etl_core::contract::Clock;
use etl_core::contract::store::{Catalog, JobStore, PutPipeline};
use etl_core::memory::{MemoryEvents, MemoryQueue, MemoryStore};
use etl_core::model::{
    ApiKeyId, By, JobId, NewJob, Pipeline, Role, SessionId, TriggerType, UserId,
};
use etl_core::runtime::SystemClock;
use etl_redis::RateLimiter;
use etl_vault::{KeySource, Vault};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::receive::LARGEST_BODY;
use super::*;
use crate::identity::{Keys, Kind, Resource};

mod dead_letters;
mod matrix;
mod pipelines;
mod secrets;
mod sign_in;

/// Knows each role by its name, and a key that may only read connectors.
#[derive(Debug)]
struct ByName;

#[async_trait]
impl Authenticate for ByName {
    async fn principal(&self, authorization: Option<&str>) -> Result<Principal, Refused> {
        let name = authorization.and_then(|header| header.strip_prefix("Bearer "));
        let session = SessionId(Uuid::nil());
        let (role, kind) = match name {
            Some("admin") => (Role::Admin, Kind::Session(session)),
            Some("operator") => (Role::Operator, Kind::Session(session)),
            Some("viewer") => (Role::Viewer, Kind::Session(session)),
            Some("key") => {
                let scopes = vec!["connectors:read".into()];
                let id = ApiKeyId(Uuid::nil());
                (Role::Admin, Kind::ApiKey { id, scopes })
            }
            _ => return Err(Refused::Unknown("nobody has this name")),
        };
        Ok(Principal {
            user: UserId(Uuid::nil()),
            name: name.unwrap_or_default().into(),
            role,
            kind,
        })
    }

    async fn again(&self, principal: &Principal) -> Result<Principal, Refused> {
        Ok(principal.clone())
    }
}

/// Knows nobody.
#[derive(Debug)]
struct RefuseAll;

#[async_trait]
impl Authenticate for RefuseAll {
    async fn principal(&self, _: Option<&str>) -> Result<Principal, Refused> {
        Err(Refused::Unknown("nobody is known"))
    }

    async fn again(&self, _: &Principal) -> Result<Principal, Refused> {
        Err(Refused::Unknown("nobody is known"))
    }
}

struct Asked {
    store: Arc<MemoryStore>,
    router: Router,
    /// Where its vault's keys and its artifacts are.
    folder: Arc<tempfile::TempDir>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

fn an_api(authenticate: impl Authenticate) -> Asked {
    an_api_with(authenticate, 0)
}

/// With a limit of so many requests a minute.
fn an_api_with(authenticate: impl Authenticate, rate_limit: u32) -> Asked {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let clock = Arc::new(SystemClock);
    let identity = an_identity(store.clone(), clock, folder.path());
    let router = router(Api {
        authenticate: Arc::new(authenticate),
        limits: Limits::new(RateLimiter::local(), rate_limit).unwrap(),
        ..an_api_over(store.clone(), identity.into(), folder.path())
    });
    Asked {
        store,
        router,
        folder,
    }
}

/// Without a limit, for whoever signs in.
fn an_api_over(store: Arc<MemoryStore>, identity: Arc<Identity>, folder: &Path) -> Api {
    Api {
        registry: Arc::new(crate::deployment::registry()),
        accounts: store.clone(),
        audit: store.clone(),
        letters: store.clone(),
        queue: Some(Arc::new(MemoryQueue::new())),
        storage: ArtifactStorage::folder(folder).unwrap(),
        vault: a_vault(store.clone(), folder),
        authenticate: identity.clone(),
        identity,
        limits: Limits::new(RateLimiter::local(), 0).unwrap(),
        proxies: Proxies::default(),
        live: Live::start(store.clone(), Arc::new(MemoryEvents::default())),
        allowed_origins: Vec::new(),
        store,
    }
}

/// Who asks, with keys of its own and a vault whose key file is in this folder.
fn an_identity(store: Arc<MemoryStore>, clock: Arc<dyn Clock>, folder: &Path) -> Identity {
    let vault = a_vault(store.clone(), folder);
    Identity::new(store, vault, Keys::own().unwrap(), clock)
}

fn a_vault(store: Arc<MemoryStore>, folder: &Path) -> Vault {
    let source = KeySource {
        file: folder.join("master.key"),
        may_make_file: true,
        passphrase: None,
        old_passphrase: None,
    };
    Vault::new(store, source)
}

impl Asked {
    async fn ask(&self, method: &str, path: &str, who: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {who}"))
            .body(Body::empty())
            .unwrap();
        self.send(request).await
    }

    /// With a body and headers, below `/api/v1`.
    async fn tell(
        &self,
        (method, path): (&str, &str),
        who: &str,
        head: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", format!("Bearer {who}"));
        for (name, value) in head {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn send(&self, request: Request) -> Answer {
        let service = TowerToHyperService::new(self.router.clone());
        let (parts, body) = service.call(request).await.unwrap().into_parts();
        let body = to_bytes(body, LARGEST_BODY).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: if body.is_empty() {
                Value::Null
            } else {
                // A stream is text.
                let text = || String::from_utf8_lossy(&body).into_owned().into();
                serde_json::from_slice(&body).unwrap_or_else(|_| text())
            },
        }
    }

    async fn a_job(&self) -> JobId {
        let document = json!({ "name": "nightly", "steps": [
            { "name": "wait", "connector_type": "sleep", "config": { "seconds": 1 } },
        ]});
        let document: Arc<Pipeline> = Arc::new(serde_json::from_value(document).unwrap());
        let put = PutPipeline {
            document: Arc::clone(&document),
            expected_version: None,
            by: By::system(),
        };
        let pipeline = self.store.put_pipeline(put).await.unwrap();
        let job = NewJob {
            id: JobId(Uuid::now_v7()),
            pipeline,
            document,
            trigger_type: TriggerType::Manual,
            triggered_by: By::system(),
            scheduled_for: None,
            parameters: json!({}),
            context: Map::new(),
            priority: 5,
            max_active: None,
            idempotency_key: None,
            retry_of: None,
            retry_attempt: 0,
            taken_over: Vec::new(),
        };
        self.store.submit(job).await.unwrap().job()
    }
}

impl Answer {
    /// That it is a problem of this status, with all its fields.
    fn is_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        for text in ["type", "title", "detail", "trace_id"] {
            assert!(self.body[text].is_string(), "{text}: {}", self.body);
        }
        assert!(self.body["errors"].is_array());
    }
}

/// The path of a route with something in place of its variables.
fn filled(path: &str, id: &str) -> String {
    path.replace("{id}", id).replace("{name}", "copy")
}

#[tokio::test]
async fn every_route_lets_in_whom_its_access_names() {
    let api = an_api(ByName);
    let refusing = an_api(RefuseAll);
    for route in routes() {
        let method = route.method.as_str();
        let job = api.a_job().await.to_string();
        let path = filled(route.path, &job);
        if path.ends_with("/events") {
            // Its stream is read to the end.
            api.ask("POST", &format!("/api/v1/jobs/{job}/cancel"), "admin")
                .await;
        }
        for (who, role) in [
            ("admin", Some(Role::Admin)),
            ("operator", Some(Role::Operator)),
            ("viewer", Some(Role::Viewer)),
            // A key of an admin that may read connectors.
            ("key", None),
        ] {
            let may = match (route.access, role) {
                (Access::Open | Access::SignedIn, _) | (Access::InPerson, Some(_)) => true,
                (Access::InPerson, None) => false,
                (Access::With(needs), Some(role)) => needs.is_of(role),
                (Access::With(needs), None) => needs.resource == Resource::Connectors,
            };
            let answer = api.ask(method, &path, who).await;
            // None of them is in the store, which keeps no tickets of nobody.
            let is_nobodys = path.ends_with("/ws/ticket") && answer.status == 401;
            if may {
                assert!(
                    is_nobodys || ![401, 403].contains(&answer.status),
                    "{who} {method} {path}"
                );
            } else {
                answer.is_problem(403);
            }
        }
        for (api, who) in [(&api, "somebody"), (&refusing, "admin")] {
            let answer = api.ask(method, &path, who).await;
            if route.access == Access::Open {
                // It is asked for a body, and not who asks.
                answer.is_problem(415);
            } else {
                answer.is_problem(401);
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
            }
        }
    }
}

#[tokio::test]
async fn two_authorizations_are_none() {
    let request = Request::builder()
        .uri("/api/v1/jobs")
        .header("authorization", "Bearer admin")
        .header("authorization", "Bearer viewer")
        .body(Body::empty())
        .unwrap();
    an_api(ByName).send(request).await.is_problem(401);
}

#[tokio::test]
async fn jobs_are_listed_in_pages_looked_at_and_ended() {
    let api = an_api(ByName);
    let (first, second) = (api.a_job().await, api.a_job().await);
    let list = "/api/v1/jobs?limit=1&status=pending,queued&pipeline=nightly";
    let page = api.ask("GET", list, "viewer").await.body;
    assert_eq!(page["items"][0]["id"], second.to_string());
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = format!("{list}&cursor={cursor}");
    let rest = api.ask("GET", &rest, "viewer").await.body;
    assert_eq!(rest["items"][0]["id"], first.to_string());

    let steps = format!("/api/v1/jobs/{first}/steps");
    let steps = api.ask("GET", &steps, "viewer").await.body;
    assert_eq!(steps["items"][0]["name"], "wait");

    let cancel = format!("/api/v1/jobs/{first}/cancel");
    let cancelled = api.ask("POST", &cancel, "operator").await;
    assert_eq!(cancelled.status, 200);
    assert_eq!(cancelled.body["status"], "cancelled");
    let one = format!("/api/v1/jobs/{first}");
    let one = api.ask("GET", &one, "viewer").await.body;
    assert_eq!(one, cancelled.body);
    let waiting = api
        .ask("GET", "/api/v1/jobs?status=pending", "viewer")
        .await;
    assert_eq!(waiting.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_told_in_one_way() {
    let api = an_api(ByName);
    let unknown = Uuid::now_v7();
    for (method, path) in [
        ("GET", format!("/api/v1/jobs/{unknown}")),
        ("GET", format!("/api/v1/jobs/{unknown}/steps")),
        ("POST", format!("/api/v1/jobs/{unknown}/cancel")),
        ("GET", "/api/v1/jobs/nightly".into()),
        ("GET", "/api/v1/jobs/%ff".into()),
        ("GET", "/api/v1/connectors/unheard-of".into()),
        ("GET", "/api/v1/unheard-of".into()),
        ("GET", "/unheard-of".into()),
    ] {
        let mut answer = api.ask(method, &path, "admin").await;
        answer.is_problem(404);
        answer.body["trace_id"] = Value::Null;
        let mut same = json!(Problem::not_found());
        same["trace_id"] = Value::Null;
        assert_eq!(answer.body, same, "{path}");
    }
    let answer = api.ask("DELETE", "/api/v1/jobs", "admin").await;
    answer.is_problem(405);
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_refused() {
    let api = an_api(ByName);
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=501", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=many", "/limit"),
        ("cursor=nowhere", "/cursor"),
        ("status=pending,done", "/status"),
        ("trigger_type=chance", "/trigger_type"),
        ("created_from=yesterday", "/created_from"),
        ("created_to=2026-13-01T00:00:00Z", "/created_to"),
    ] {
        let path = format!("/api/v1/jobs?{query}");
        let answer = api.ask("GET", &path, "viewer").await;
        answer.is_problem(400);
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{query}");
    }
    for query in ["state=pending", "limit=1&limit=2"] {
        let path = format!("/api/v1/jobs?{query}");
        api.ask("GET", &path, "viewer").await.is_problem(400);
    }
}

#[tokio::test]
async fn pipelines_are_listed_without_their_steps() {
    let api = an_api(ByName);
    api.a_job().await;
    let list = "/api/v1/pipelines?namespace=default";
    let list = api.ask("GET", list, "viewer").await.body;
    assert_eq!(list["items"][0]["name"], "nightly");
    assert_eq!(list["items"][0]["version"], 1);
    assert_eq!(list["items"][0].get("steps"), None);
    assert_eq!(list["next_cursor"], Value::Null);
    let none = api.ask("GET", "/api/v1/pipelines?tag=x", "viewer").await;
    assert_eq!(none.body["items"], json!([]));
    let lost = "/api/v1/pipelines?cursor=nowhere";
    let lost = api.ask("GET", lost, "viewer").await;
    lost.is_problem(400);
    assert_eq!(lost.body["errors"][0]["pointer"], "/cursor");
}

#[tokio::test]
async fn connectors_are_there_with_their_schemas() {
    let api = an_api(ByName);
    let all = api.ask("GET", "/api/v1/connectors", "viewer").await.body;
    let names = all["items"].as_array().unwrap().iter();
    assert!(names.clone().any(|info| info["name"] == "copy"));
    let schema = "/api/v1/connectors/copy/schema";
    let schema = api.ask("GET", schema, "viewer").await.body;
    assert!(schema["config_schema"].is_object());
}

#[tokio::test(start_paused = true)]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let api = an_api_with(ByName, 2);
    let list = "/api/v1/connectors";
    for left in ["1", "0"] {
        let answer = api.ask("GET", list, "viewer").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["ratelimit-limit"], "2");
        assert_eq!(answer.headers["ratelimit-remaining"], left);
    }
    let refused = api.ask("GET", list, "viewer").await;
    refused.is_problem(429);
    assert_eq!(refused.headers["retry-after"], "30");
    assert_eq!(refused.headers["ratelimit-remaining"], "0");
    assert_eq!(refused.headers["ratelimit"], "\"api\";r=0;t=60");
    assert_eq!(api.ask("GET", list, "admin").await.status, 200);
    tokio::time::advance(std::time::Duration::from_secs(30)).await;
    assert_eq!(api.ask("GET", list, "viewer").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn strangers_use_up_nobodys_limit_but_their_own() {
    let api = an_api(ByName);
    for _ in 0..300 {
        let refused = api.ask("GET", "/api/v1/jobs", "somebody").await;
        refused.is_problem(401);
    }
    let refused = api.ask("GET", "/api/v1/jobs", "somebody").await;
    refused.is_problem(429);
    let known = api.ask("GET", "/api/v1/jobs", "viewer").await;
    assert_eq!(known.status, 200);
}

#[tokio::test]
async fn browsers_are_told_to_make_nothing_of_an_answer() {
    let api = an_api(ByName);
    for path in ["/api/v1/jobs", "/unheard-of"] {
        let headers = api.ask("GET", path, "viewer").await.headers;
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
    }
}

#[tokio::test]
async fn health_is_answered_beside_it_without_signing_in() {
    let Asked {
        store,
        router,
        folder: _folder,
    } = an_api(RefuseAll);
    let listening = crate::listener::listen("bind", "127.0.0.1:0").await;
    let (listener, address) = listening.unwrap();
    let app = crate::health::router(store, Arc::default()).merge(router);
    let _server = crate::listener::serve(listener, app);
    for (path, status) in [
        ("/health", "HTTP/1.1 200"),
        ("/ready", "HTTP/1.1 200"),
        ("/api/v1/jobs", "HTTP/1.1 401"),
        ("/unheard-of", "HTTP/1.1 404"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: etl\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        assert!(told.starts_with(status), "{path}: {told}");
    }
}
