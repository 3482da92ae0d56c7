//! The HTTP listener: whoever connects, and however often or slowly, costs it bounded time and a bounded number of connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::Request as AnyRequest;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::deployment::unreachable;
use crate::failure::Failure;

/// How many clients are connected at once; others wait to be taken.
const CLIENTS: usize = 512;
/// While there is room, how long a connection may wait for its next request.
const IDLE: Duration = Duration::from_secs(30);
/// While more than half of the room is taken, how long: who says nothing keeps no place from those who do.
const HURRY: Duration = Duration::from_secs(2);
/// How long a client may take nothing of an answer.
const STALL: Duration = Duration::from_secs(10);
/// How long requests under way may take once the listener is told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How long to wait when nobody can be taken.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// Listens on `bind` (`HOST:PORT`), which the configuration has under `key`. The address is where, also for port 0.
pub(crate) async fn listen(key: &str, bind: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let listening = async {
        let listener = TcpListener::bind(bind).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    listening.await.map_err(|error: std::io::Error| {
        unreachable(format!("{bind} can't be listened on"))
            .because(error)
            .hint(format!(
                "another process may have it: choose another by `{key}` or ETL_{}, port 0 for any",
                key.to_uppercase()
            ))
    })
}

/// A listener at work. Dropped, it goes on.
#[derive(Debug)]
pub(crate) struct Listening {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listening {
    /// Takes nobody any more, and lets requests under way be answered.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if timeout(LAST_ANSWERS, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// Answers with `app`, until it is stopped. Handlers find the client's address as [`ConnectInfo`].
pub(crate) fn serve(listener: TcpListener, app: Router) -> Listening {
    let stop = CancellationToken::new();
    let task = tokio::spawn(take(listener, app, stop.clone()));
    Listening { stop, task }
}

/// Takes clients as long as there is room for them. They end with this.
async fn take(listener: TcpListener, app: Router, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = clients.join_next() => {}
            (place, accepted) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let patience = if room.available_permits() * 2 < CLIENTS { HURRY } else { IDLE };
                    let client = Client { stream, peer, place, patience };
                    clients.spawn(client.answer(app.clone(), stop.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, say: it passes, and asking at once again does not help.
                    tracing::warn!(%error, "nobody could be answered");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}

/// Somebody who has connected.
struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    /// Kept as long as it is connected.
    place: Option<OwnedSemaphorePermit>,
    patience: Duration,
}

impl Client {
    async fn answer(self, app: Router, stop: CancellationToken) {
        let _place = self.place;
        // Small answers leave at once.
        let _ = self.stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(self.stream);
        stream.set_write_timeout(Some(STALL));
        let app = app.layer(Extension(ConnectInfo(self.peer)));
        let service = service_fn(move |request: AnyRequest<Incoming>| {
            let request: Request = request.map(axum::body::Body::new);
            app.clone().call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(Box::pin(stream)), service)
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a client went away");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Bytes;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::*;

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: etl\r\n\r\n";
    const ASK_LAST: &[u8] = b"GET / HTTP/1.1\r\nhost: etl\r\nconnection: close\r\n\r\n";

    async fn a_server(app: Router) -> (SocketAddr, Listening) {
        let (listener, address) = listen("bind", "127.0.0.1:0").await.unwrap();
        (address, serve(listener, app))
    }

    fn greeting() -> Router {
        let greet = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
        Router::new().route("/", get(greet))
    }

    /// What a connection that stays answers, up to this.
    async fn answer(stream: &mut TcpStream, end: &str) -> String {
        let mut told = Vec::new();
        while !told.windows(end.len()).any(|part| part == end.as_bytes()) {
            assert_ne!(stream.read_buf(&mut told).await.unwrap(), 0, "{told:?}");
        }
        String::from_utf8(told).unwrap()
    }

    #[tokio::test]
    async fn a_connection_carries_many_requests_and_tells_who_asks() {
        let (address, _server) = a_server(greeting()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let me = stream.local_addr().unwrap().to_string();
        for _ in 0..3 {
            stream.write_all(ASK).await.unwrap();
            let told = answer(&mut stream, &me).await;
            assert!(told.starts_with("HTTP/1.1 200"), "{told}");
        }
        stream.write_all(ASK_LAST).await.unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_comes_to_an_end_is_left() {
        let (address, _server) = a_server(greeting()).await;
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: e")
            .await
            .unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn clients_beyond_the_bound_wait_for_those_who_say_nothing() {
        let (address, _server) = a_server(greeting()).await;
        let begun = Instant::now();
        let mut silent = Vec::new();
        for _ in 0..CLIENTS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        answer(&mut stream, "\r\n\r\n").await;
        assert!(begun.elapsed() >= HURRY);
        assert!(begun.elapsed() < IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_of_its_answer_is_left() {
        let large = Bytes::from(vec![b'x'; 64 * 1024 * 1024]);
        let app = Router::new().route("/", get(move || async { large }));
        let (address, server) = a_server(app).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        // It is answered, and nobody reads: the place is free again after a while, so that the last answers are waited for
        // no longer than that.
        answer(&mut stream, "\r\n\r\n").await;
        tokio::time::sleep(STALL + Duration::from_secs(1)).await;
        let begun = Instant::now();
        server.stop().await;
        assert!(begun.elapsed() < LAST_ANSWERS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_answered_when_it_stops() {
        let (begin, mut begun) = watch::channel(false);
        let slow = move || async move {
            begin.send_replace(true);
            tokio::time::sleep(Duration::from_secs(3)).await;
            "at last"
        };
        let (address, server) = a_server(Router::new().route("/", get(slow))).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        begun.wait_for(|begun| *begun).await.unwrap();
        server.stop().await;
        let mut told = String::new();
        stream.read_to_string(&mut told).await.unwrap();
        assert!(told.ends_with("at last"), "{told}");
        told.clear();
        idle.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "");
        TcpStream::connect(address).await.unwrap_err();
    }
}
