//! Whether this process lives, and whether it can do its work: for load balancers and orchestrators. Whoever asks, and however
//! often or slowly, costs it a bounded number of connections and the store one question a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use etl_core::contract::Store;
use etl_core::contract::store::JobStore;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::deployment::unreachable;
use crate::failure::Failure;

/// How long a dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what a dependency answered is told again.
const FRESH: Duration = Duration::from_secs(1);
/// How long a client may take to ask, and to take the answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to ask: who says nothing keeps no place from those who do.
const HEAD_PATIENCE: Duration = Duration::from_secs(2);
/// How many clients are listened to at once; others wait to be taken.
const CLIENTS: usize = 64;
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

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

/// Answers `/health` and `/ready`, and beside them `api`, until it is aborted.
pub(crate) fn serve(
    listener: TcpListener,
    store: Arc<dyn Store>,
    draining: Arc<AtomicBool>,
    api: Router,
) -> JoinHandle<()> {
    let watched = Watched {
        store,
        draining,
        seen: Recent::new(),
    };
    let app = Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/ready", get(ready))
        .with_state(Arc::new(watched))
        .merge(api);
    tokio::spawn(answer(listener, app))
}

/// Takes clients as long as there is room for them. They end with this.
async fn answer(listener: TcpListener, app: Router) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = clients.join_next() => {}
            accepted = listener.accept(), if clients.len() < CLIENTS => match accepted {
                Ok((stream, _)) => {
                    clients.spawn(answer_one(stream, app.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, say: it passes, and asking at once again does not help.
                    tracing::warn!(%error, "nobody could be answered");
                    tokio::time::sleep(FRESH).await;
                }
            },
        }
    }
}

/// One request: whoever probes again connects again.
async fn answer_one(stream: TcpStream, app: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .keep_alive(false)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    match timeout(CLIENT_PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client went away"),
        Err(_) => tracing::debug!("a client took too long"),
    }
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

/// An answer that is good for a while. Of those who ask meanwhile one has it found, and all are told it.
#[derive(Debug)]
struct Recent<T>(Mutex<Option<(Instant, T)>>);

impl<T: Copy> Recent<T> {
    fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The answer of before, or else the one that is to be found.
    async fn get(&self, find: impl Future<Output = T>) -> T {
        let mut last = self.0.lock().await;
        match *last {
            Some((since, found)) if since.elapsed() < FRESH => found,
            _ => {
                let found = find.await;
                *last = Some((Instant::now(), found));
                found
            }
        }
    }
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
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicUsize;

    use etl_core::memory::MemoryStore;
    use etl_core::runtime::SystemClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn a_server() -> SocketAddr {
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = MemoryStore::new(Arc::new(SystemClock));
        serve(listener, Arc::new(store), Arc::default(), Router::new());
        address
    }

    /// Sends this, and gives all that comes until the end.
    async fn told(address: SocketAddr, said: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        told
    }

    #[tokio::test]
    async fn a_request_is_answered_and_its_connection_ends() {
        let address = a_server().await;
        for (path, said) in [("/health", "ok"), ("/ready", "ready")] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: etl\r\n\r\n");
            let told = told(address, &request).await;
            assert!(told.starts_with("HTTP/1.1 200"), "{told}");
            assert!(told.contains(&format!("\"status\":\"{said}\"")), "{told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_comes_to_an_end_is_left() {
        let address = a_server().await;
        let begun = Instant::now();
        assert_eq!(told(address, "GET /health HTTP/1.1\r\nhost: e").await, "");
        assert_eq!(begun.elapsed().as_secs(), HEAD_PATIENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn clients_beyond_the_bound_wait_for_those_before_them() {
        let address = a_server().await;
        let begun = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..CLIENTS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let told = told(address, "GET /health HTTP/1.1\r\nhost: etl\r\n\r\n").await;
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
        assert!(begun.elapsed() >= HEAD_PATIENCE);
        assert!(begun.elapsed() < CLIENT_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_told_again_for_a_second() {
        let (recent, asked) = (Recent::new(), AtomicUsize::new(0));
        let ask = || {
            recent.get(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                asked.fetch_add(1, Ordering::SeqCst) + 1
            })
        };
        let all = tokio::join!(ask(), ask(), ask());
        assert_eq!(all, (1, 1, 1));
        tokio::time::advance(Duration::from_millis(900)).await;
        assert_eq!(ask().await, 1);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(ask().await, 2);
    }
}
