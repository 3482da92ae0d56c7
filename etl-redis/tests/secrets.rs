//! TLS to a real Redis, and that the password is in no error, no log line and no debug output, whatever goes wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etl_core::contract::EventBus;
use etl_core::model::{PipelineId, WorkerId};
use etl_redis::{LockName, Quota, Redis, RedisErrorKind, RedisOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use server::{PASSWORD, Private, a_job, eventually, next, notice};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Keeps all that this thread logs, at every level.
    fn keep(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// An error as a log would have it, with all its causes.
fn shown(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error:?} {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause:?} {cause}"));
        source = cause.source();
    }
    text
}

/// Everything is tried; what was said of it.
async fn tried(redis: &Redis) -> String {
    let mut said = format!("{redis:?}");
    let bus = redis.events();
    let watcher = bus.subscribe(Some(a_job())).await.unwrap();
    bus.publish(vec![notice(a_job(), 1)]).await.unwrap();
    eventually("the bus has failed", async || bus.counts().failures > 1).await;
    said.push_str(&format!("{bus:?} {watcher:?}"));
    let ping = redis.ping().await.unwrap_err();
    said.push_str(&shown(&ping));
    let locks = redis.locks();
    let name = LockName::Pipeline(PipelineId(Uuid::nil()));
    let refused = locks.acquire(name, WorkerId(Uuid::nil()), Duration::from_secs(1));
    said.push_str(&shown(&refused.await.unwrap_err()));
    let quota = Quota::new("q", 1, Duration::from_secs(1)).unwrap();
    said.push_str(&format!(
        "{:?} {locks:?}",
        redis.limits().take("a", &quota).await
    ));
    said
}

#[tokio::test]
async fn a_password_that_is_refused_is_not_shown() {
    let log = Log::default();
    let _kept = log.keep();
    let server = Private::started().await;
    let url = format!("redis://:canary-wrong@127.0.0.1:{}/0", server.port());
    let redis = Redis::open(&url, &RedisOptions::default()).unwrap();
    let refused = redis.ping().await.unwrap_err();
    assert_eq!(refused.kind, RedisErrorKind::Refused, "{refused:?}");
    let said = tried(&redis).await + &shown(&refused) + &log.text();
    assert!(said.contains("events are not told"), "{said}");
    assert!(!said.contains("canary"), "{said}");
}

/// Old servers and proxies repeat a command that they do not know, and the greeting has the password.
#[tokio::test]
async fn a_server_that_repeats_what_it_was_sent_is_not_repeated() {
    let log = Log::default();
    let _kept = log.keep();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        for answer in [
            format!("-ERR unknown command `HELLO`, with args beginning with: `3` `{PASSWORD}`\r\n"),
            format!("-{PASSWORD} is what you sent\r\n"),
            format!("-CANARY {PASSWORD}\r\n"),
            format!("+{PASSWORD}\r\n"),
            format!("{PASSWORD}\r\n"),
        ]
        .iter()
        .cycle()
        {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut sent = [0; 4096];
            let count = client.read(&mut sent).await.unwrap_or_default();
            assert!(count == 0 || String::from_utf8_lossy(&sent[..count]).contains(PASSWORD));
            let _ = client.write_all(answer.repeat(8).as_bytes()).await;
        }
    });
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{port}/0");
    let mut said = String::new();
    for _ in 0..5 {
        let redis = Redis::open(&url, &RedisOptions::default()).unwrap();
        said.push_str(&tried(&redis).await);
    }
    answering.abort();
    said.push_str(&log.text());
    assert!(said.contains("the server answered"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_without_its_address() {
    let log = Log::default();
    let _kept = log.keep();
    let url = Private::new().url();
    let options = RedisOptions::default();
    for url in [url.as_str(), &format!("redis://u:{PASSWORD}@host.invalid")] {
        let redis = Redis::open(url, &options).unwrap();
        let error = redis.ping().await.unwrap_err();
        assert_eq!(error.kind, RedisErrorKind::Unavailable, "{error:?}");
        let said = tried(&redis).await + &shown(&error) + &log.text();
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

#[tokio::test]
async fn tls_is_spoken_with_a_server_whose_authority_is_trusted_and_with_no_other() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut names = rcgen::CertificateParams::new(["localhost".into()]).unwrap();
    names.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(names, key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = rcgen::CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
    let certificate = names.signed_by(&key, &authority).unwrap();

    let mut server = Private::new();
    let port = server
        .start_tls(&certificate.pem(), &key.serialize_pem())
        .await;
    let url = format!("rediss://:{PASSWORD}@localhost:{port}/0");
    let trusting = RedisOptions::default().with_authorities(authority.pem());
    let redis = Redis::open(&url, &trusting).unwrap();
    redis.ping().await.unwrap();
    let (bus, job) = (redis.events(), a_job());
    let mut watcher = bus.subscribe(Some(job)).await.unwrap();
    bus.publish(vec![notice(job, 1)]).await.unwrap();
    let came = next(&mut watcher).await;
    assert_eq!(came, etl_core::contract::Received::Event(notice(job, 1)));

    let doubting = Redis::open(&url, &RedisOptions::default()).unwrap();
    let error = doubting.ping().await.unwrap_err();
    assert_eq!(error.kind, RedisErrorKind::Unavailable, "{error:?}");
    let said = shown(&error);
    assert!(
        said.contains("certificate") && !said.contains(PASSWORD),
        "{said}"
    );
}
