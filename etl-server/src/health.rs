//! Whether this process lives, and whether it can do its work: for load balancers and orchestrators. However often it is asked, it
//! asks the store once a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use etl_core::contract::Store;
use etl_core::contract::store::JobStore;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::recent::Recent;

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// `/health` and `/ready`, which everybody may ask.
pub(crate) fn router(store: Arc<dyn Store>, draining: Arc<AtomicBool>) -> Router {
    let watched = Watched {
        store,
        draining,
        seen: Recent::new(),
    };
    Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/ready", get(ready))
        .with_state(Arc::new(watched))
}

struct Watched {
    store: Arc<dyn Store>,
    draining: Arc<AtomicBool>,
    seen: Recent<Seen>,
}

/// How the store answered.
#[derive(Debug, Clone, Copy)]
struct Seen {
    milliseconds: u128,
    problem: Option<&'static str>,
}

impl Watched {
    async fn ask(&self) -> Seen {
        let asked = Instant::now();
        let store = JobStore::waiting(&*self.store, Duration::ZERO, 1);
        let problem = match timeout(PATIENCE, store).await {
            Ok(Ok(_)) => None,
            // What went wrong is in the log; who asks need not know names and addresses.
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready: the store");
                Some("it can't be reached")
            }
            Err(_) => Some("it does not answer in time"),
        };
        Seen {
            milliseconds: asked.elapsed().as_millis(),
            problem,
        }
    }
}

/// 200 if jobs can be accepted and run; 503 with what is wrong otherwise.
async fn ready(State(watched): State<Arc<Watched>>) -> (StatusCode, Json<Value>) {
    let store = watched.seen.get(watched.ask()).await;
    let is_draining = watched.draining.load(Ordering::SeqCst);
    let is_ready = store.problem.is_none() && !is_draining;
    let body = json!({
        "status": if is_ready { "ready" } else { "not ready" },
        "draining": is_draining,
        "dependencies": {
            "store": {
                "ok": store.problem.is_none(),
                "milliseconds": u64::try_from(store.milliseconds).unwrap_or(u64::MAX),
                "problem": store.problem,
            }
        }
    });
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use etl_core::memory::MemoryStore;
    use etl_core::runtime::SystemClock;
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn whoever_asks_is_told() {
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let draining = Arc::new(AtomicBool::new(false));
        let mut router = router(store, Arc::clone(&draining));
        for (path, drains, status, said) in [
            ("/health", false, 200, "ok"),
            ("/ready", false, 200, "ready"),
            ("/ready", true, 503, "not ready"),
            ("/health", true, 200, "ok"),
        ] {
            draining.store(drains, Ordering::SeqCst);
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = router.call(request).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            let body = to_bytes(answer.into_body(), 1024).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["status"], said, "{path}");
        }
    }
}
