//! Whoever asks: connections that stay open, one request at a time on each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is asked again and again.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) body: Bytes,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// A connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, address })
    }

    pub(crate) async fn ask(&mut self, request: &Request) -> Result<Answer> {
        let mut sent = hyper::Request::builder()
            .method(request.method.clone())
            .uri(&request.path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, &request.authorization);
        if !request.body.is_empty() {
            sent = sent.header(header::CONTENT_TYPE, "application/json");
        }
        let sent = sent.body(Full::new(request.body.clone()))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(sent).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(Answer { status, body })
    }
}

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    connections: usize,
    time: Duration,
    /// Requests a second over all connections; without one, as fast as they are answered.
    rate: Option<f64>,
}

/// What was seen of a load.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Answers a second.
    pub(crate) a_second: f64,
    /// How long each took from when it was due, in ms, the shortest first.
    took: Vec<f64>,
}

impl Seen {
    /// So many of a hundred answers did not take longer, in ms.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let at = (self.took.len() as f64 * percent / 100.0).ceil() as usize;
        let last = self.took.len().saturating_sub(1);
        self.took
            .get(at.saturating_sub(1).min(last))
            .copied()
            .unwrap_or(f64::NAN)
    }
}

impl Load {
    pub(crate) fn as_fast_as_it_goes(connections: usize, time: Duration) -> Self {
        Self {
            connections,
            time,
            rate: None,
        }
    }

    /// At this rate, whether or not answers come in time: what waits is counted as waiting.
    pub(crate) fn at(rate: f64, connections: usize, time: Duration) -> Self {
        Self {
            connections,
            time,
            rate: Some(rate),
        }
    }

    pub(crate) async fn run(self, address: SocketAddr, request: &Request) -> Result<Seen> {
        let mut asking = JoinSet::new();
        let pace = self
            .rate
            .map(|rate| Duration::from_secs_f64(self.connections as f64 / rate));
        let began = Instant::now();
        for at in 0..self.connections {
            let request = request.clone();
            let mut connection = Connection::open(address).await?;
            let first = pace.map(|pace| began + pace.mul_f64(at as f64 / self.connections as f64));
            asking.spawn(async move {
                let mut took = Vec::new();
                let mut due = first.unwrap_or(began);
                while began.elapsed() < self.time {
                    if pace.is_some() {
                        tokio::time::sleep_until(due.into()).await;
                    } else {
                        due = Instant::now();
                    }
                    let answer = connection.ask(&request).await?;
                    ensure!(
                        (200..300).contains(&answer.status),
                        "{} {}: {} {:?}",
                        request.method,
                        request.path,
                        answer.status,
                        answer.body
                    );
                    took.push(due.elapsed().as_secs_f64() * 1_000.0);
                    due += pace.unwrap_or_default();
                }
                Ok(took)
            });
        }
        let mut took = Vec::new();
        while let Some(asked) = asking.join_next().await {
            took.extend(asked??);
        }
        let a_second = took.len() as f64 / began.elapsed().as_secs_f64();
        took.sort_by(f64::total_cmp);
        Ok(Seen { a_second, took })
    }
}
