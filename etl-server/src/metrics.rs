//! `/metrics`: what the process has counted, and what is so now. However often it is asked, it asks the store once a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use etl_core::contract::Store;
use etl_core::runtime::Load;
use etl_metrics::{CONTENT_TYPE, Gauges, Metrics};
use tokio::time::timeout;

use crate::recent::Recent;

/// How long the store may take to answer; without it the rest is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// How far jobs that wait are counted: beyond it nobody needs to know better, and the store is not to count for long.
const MOST_WAITING: u64 = 100_000;

/// What is told to whoever scrapes.
#[derive(Debug)]
pub(crate) struct Scraped {
    metrics: Metrics,
    store: Arc<dyn Store>,
    draining: Arc<AtomicBool>,
    /// The worker of this process, with its room.
    worker: OnceLock<(Load, usize)>,
    waiting: Recent<Option<u64>>,
}

impl Scraped {
    pub(crate) fn new(metrics: Metrics, store: Arc<dyn Store>, draining: Arc<AtomicBool>) -> Self {
        Self {
            metrics,
            store,
            draining,
            worker: OnceLock::new(),
            waiting: Recent::new(),
        }
    }

    /// From now on this process runs jobs, at most so many at once.
    pub(crate) fn works(&self, load: Load, max_jobs: usize) {
        // Whoever comes first is the one worker that there is.
        let _ = self.worker.set((load, max_jobs));
    }

    async fn waiting(&self) -> Option<u64> {
        match timeout(PATIENCE, self.store.backlog(MOST_WAITING)).await {
            Ok(Ok(count)) => Some(count),
            Ok(Err(error)) => {
                tracing::debug!(%error, "jobs that wait were not counted");
                None
            }
            Err(_) => None,
        }
    }

    async fn text(&self) -> String {
        let queue_depth = self.waiting.get(self.waiting()).await;
        let (active_jobs, has_room) = match self.worker.get() {
            Some((load, max_jobs)) => {
                let jobs = load.jobs();
                (jobs, jobs < *max_jobs)
            }
            None => (0, false),
        };
        self.metrics.set(Gauges {
            active_jobs,
            queue_depth,
            is_available: has_room && !self.draining.load(Ordering::SeqCst),
        });
        self.metrics.render()
    }
}

/// `/metrics`, for whoever can reach the listener.
pub(crate) fn router(scraped: Arc<Scraped>) -> Router {
    Router::new()
        .route("/metrics", get(tell))
        .with_state(scraped)
}

async fn tell(State(scraped): State<Arc<Scraped>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], scraped.text().await)
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
    async fn a_scrape_tells_what_is_counted_and_what_is_so() {
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let metrics = Metrics::new();
        let scraped = Scraped::new(metrics, store, Arc::default());
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = router(Arc::new(scraped)).call(request).await.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        let body = to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        for line in [
            "etl_queue_depth 0",
            "etl_active_jobs 0",
            "etl_workers_available 0",
            "etl_lease_lost_total 0",
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
