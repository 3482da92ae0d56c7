//! A line to the broker that tests can cut, silence and mend; with TLS on this side where it is wanted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Carries everything.
    Open,
    /// Connections are closed, and new ones refused.
    Cut,
    /// Connections stay and new ones are taken, and nothing is carried. When it ends, they are closed.
    Silent,
}

/// A port of this machine that leads to the broker.
pub(crate) struct Line {
    port: u16,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl Line {
    pub(crate) async fn open() -> Self {
        Self::with(None).await
    }

    /// One that speaks TLS, and the certificate of the authority to trust.
    pub(crate) async fn with_tls() -> (Self, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut names = rcgen::CertificateParams::new(Vec::new()).unwrap();
        names.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(names, key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = rcgen::CertificateParams::new(["localhost".into()]).unwrap();
        let certificate = names.signed_by(&key, &authority).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let line = Self::with(Some(TlsAcceptor::from(Arc::new(config)))).await;
        (line, authority.pem())
    }

    async fn with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way = watch::Sender::new(Way::Open);
        let task = tokio::spawn(serve(listener, port, tls, way.subscribe()));
        Self { port, way, task }
    }

    /// The broker's address by this line.
    pub(crate) fn url(&self, scheme: &str) -> String {
        let url = super::broker::url();
        let (_, rest) = url.split_once("://").unwrap();
        let (user, rest) = rest.split_once('@').unwrap();
        let (_, vhost) = rest.split_once('/').unwrap();
        format!("{scheme}://{user}@localhost:{}/{vhost}", self.port)
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut listener: TcpListener,
    port: u16,
    tls: Option<TlsAcceptor>,
    mut way: watch::Receiver<Way>,
) {
    loop {
        tokio::select! {
            taken = listener.accept() => {
                if let Ok((client, _)) = taken {
                    tokio::spawn(carry(client, tls.clone(), way.clone()));
                }
            }
            changed = way.changed() => {
                if changed.is_err() {
                    return;
                }
                if *way.borrow_and_update() == Way::Cut {
                    drop(listener);
                    let _ = way.wait_for(|way| *way != Way::Cut).await;
                    listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
                }
            }
        }
    }
}

/// Carries one connection while the line is open, keeps it while it is silent, and closes it then.
async fn carry(client: TcpStream, tls: Option<TlsAcceptor>, mut way: watch::Receiver<Way>) {
    let mut carrying = Box::pin(async {
        match tls {
            None => connect(client).await,
            Some(tls) => {
                if let Ok(client) = tls.accept(client).await {
                    connect(client).await;
                }
            }
        }
    });
    if *way.borrow() == Way::Open {
        tokio::select! {
            () = &mut carrying => return,
            _ = way.wait_for(|way| *way != Way::Open) => {}
        }
    }
    let _ = way.wait_for(|way| *way != Way::Silent).await;
}

async fn connect(mut client: impl AsyncRead + AsyncWrite + Unpin) {
    let url = super::broker::url();
    let (_, rest) = url.split_once('@').unwrap();
    let (host, _) = rest.split_once('/').unwrap();
    if let Ok(mut broker) = TcpStream::connect(host).await {
        let _ = copy_bidirectional(&mut client, &mut broker).await;
    }
}
