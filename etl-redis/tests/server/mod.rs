//! Real servers of Redis: the one that all tests share, under names that no other test has, and one of a test's own that it may
//! stop.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod relay;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etl_core::contract::{Received, Subscription};
use etl_core::model::{Event, EventKind, JobId, JobStatus, LogLevel, LogLine, Timestamp};
use etl_redis::{Redis, RedisOptions};
use uuid::Uuid;

/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn url() -> String {
    std::env::var("ETL_TEST_REDIS_URL").expect(
        "ETL_TEST_REDIS_URL is not set: eval \"$(scripts/services env)\" after scripts/services up",
    )
}

/// The shared server, by a prefix of the test's own.
pub(crate) fn shared() -> Redis {
    Redis::open(&url(), &RedisOptions::default().with_prefix(a_prefix())).unwrap()
}

pub(crate) fn a_prefix() -> String {
    format!("test-{}:", Uuid::now_v7().simple())
}

/// A server of a test's own, with a password, in a folder of its own. Killed when it is dropped.
pub(crate) struct Private {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

/// The password of private servers, which nothing may ever show.
pub(crate) const PASSWORD: &str = "canary-hunter2";

impl Private {
    /// One that is not started yet.
    pub(crate) fn new() -> Self {
        // Free a moment ago; whoever else takes it makes the start fail.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            port: free.local_addr().unwrap().port(),
            child: None,
        }
    }

    pub(crate) async fn started() -> Self {
        let mut server = Self::new();
        server.start().await;
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn open(&self) -> Redis {
        Redis::open(&self.url(), &RedisOptions::default()).unwrap()
    }

    /// Starts it, empty, and waits until it answers.
    pub(crate) async fn start(&mut self) {
        self.start_with(&[]).await;
    }

    /// Starts it so that it speaks TLS too; at which port.
    pub(crate) async fn start_tls(&mut self, certificate: &str, key: &str) -> u16 {
        let (at, port) = (self.folder.path(), Self::new().port);
        std::fs::write(at.join("cert.pem"), certificate).unwrap();
        std::fs::write(at.join("key.pem"), key).unwrap();
        let number = port.to_string();
        let tls = ["--tls-port", &number, "--tls-auth-clients", "no"];
        let files = ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"];
        self.start_with(&[&tls[..], &files[..]].concat()).await;
        port
    }

    async fn start_with(&mut self, more: &[&str]) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string()])
            .args(more)
            .args(["--bind", "127.0.0.1", "--requirepass", PASSWORD])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        // A handle of its own for each try: one that failed waits before the next.
        eventually("the server answers", async || {
            self.open().ping().await.is_ok()
        })
        .await;
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops its process without ending it: connections stay, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), id]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until something is so, looking again and again.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn a_job() -> JobId {
    JobId(Uuid::now_v7())
}

/// The n-th notice about a job.
pub(crate) fn notice(job_id: JobId, n: i64) -> Event {
    Event {
        job_id,
        at: Timestamp::from_micros(n),
        kind: EventKind::Job {
            status: JobStatus::Running,
            error_message: None,
        },
    }
}

pub(crate) fn line(job_id: JobId, message: &str) -> Event {
    let timestamp = Timestamp::from_micros(1);
    Event {
        job_id,
        at: timestamp,
        kind: EventKind::Log(LogLine {
            job_id,
            seq: 1,
            step: Some("s".into()),
            item_index: None,
            attempt: 1,
            timestamp,
            level: LogLevel::Info,
            message: message.into(),
            metadata: serde_json::Map::new(),
        }),
    }
}

pub(crate) async fn next(watcher: &mut Box<dyn Subscription>) -> Received {
    let received = tokio::time::timeout(PATIENCE, watcher.next()).await;
    received.expect("nothing came").expect("the bus is open")
}
