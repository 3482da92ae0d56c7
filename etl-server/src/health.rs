//! Whether this process lives, and whether it can do its work: for load balancers and orchestrators.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use etl_core::contract::Store;
use etl_core::contract::store::JobStore;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::deployment::unreachable;
use crate::failure::Failure;

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Watched {
    store: Arc<dyn Store>,
    draining: Arc<AtomicBool>,
}

/// Listens on `bind` (`HOST:PORT`).
pub(crate) async fn listen(bind: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(bind).await.map_err(|error| {
        unreachable(format!("{bind} can't be listened on"))
            .because(error)
            .hint(
                "another process may have it: choose another by `bind` or ETL_BIND, port 0 for any",
            )
    })
}

/// Answers `/health` and `/ready` until it is aborted.
pub(crate) fn serve(
    listener: TcpListener,
    store: Arc<dyn Store>,
    draining: Arc<AtomicBool>,
) -> JoinHandle<()> {
    let app = Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/ready", get(ready))
        .with_state(Watched { store, draining });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "health is not answered any more");
        }
    })
}

/// 200 if jobs can be accepted and run; 503 with what is wrong otherwise.
async fn ready(State(watched): State<Watched>) -> (StatusCode, Json<Value>) {
    let asked = Instant::now();
    let store = tokio::time::timeout(
        PATIENCE,
        JobStore::waiting(&*watched.store, Duration::ZERO, 1),
    );
    let (store_is_ok, problem) = match store.await {
        Ok(Ok(_)) => (true, None),
        // What went wrong is in the log; who asks need not know names and addresses.
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the store");
            (false, Some("it can't be reached"))
        }
        Err(_) => (false, Some("it does not answer in time")),
    };
    let is_draining = watched.draining.load(Ordering::SeqCst);
    let is_ready = store_is_ok && !is_draining;
    let body = json!({
        "status": if is_ready { "ready" } else { "not ready" },
        "draining": is_draining,
        "dependencies": {
            "store": {
                "ok": store_is_ok,
                "milliseconds": u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX),
                "problem": problem,
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
