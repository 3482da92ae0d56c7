//! A way to a server that can be led elsewhere, cut, and held up where a test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::PASSWORD;

/// What becomes of what comes to the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections end, and none begins.
    Cut,
    /// Open until a client sends these words.
    OpenUntil(String),
    /// Nothing comes back to clients.
    Held,
}

/// Passes on what comes to its own port.
pub(crate) struct Relay {
    port: u16,
    server: Arc<AtomicU16>,
    way: watch::Sender<Way>,
}

impl Relay {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            server: Arc::new(server.into()),
            way: watch::Sender::new(Way::Open),
        };
        let (server, way) = (Arc::clone(&relay.server), relay.way.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = server.load(Ordering::SeqCst);
                tokio::spawn(pass_on(client, server, way.clone()));
            }
        });
        relay
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)
    }

    /// Connections that begin from now on lead to another server.
    pub(crate) fn lead_to(&self, server: u16) {
        self.server.store(server, Ordering::SeqCst);
    }

    pub(crate) fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Lets connections begin, and holds all answers up once a client has sent these words.
    pub(crate) fn open_until(&self, words: String) {
        self.way.send_replace(Way::OpenUntil(words));
    }

    /// Waits until answers are held up.
    pub(crate) async fn is_held(&self) {
        let mut way = self.way.subscribe();
        way.wait_for(|way| *way == Way::Held).await.unwrap();
    }

    pub(crate) fn open(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn pass_on(mut client: TcpStream, server: u16, way: watch::Sender<Way>) {
    let mut now = way.subscribe();
    let passing = async {
        let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let asking = async {
            while let Some(bytes) = some(&mut from_client).await? {
                way.send_if_modified(|way| {
                    let text = String::from_utf8_lossy(&bytes);
                    let is_it = matches!(way, Way::OpenUntil(words) if text.contains(&**words));
                    if is_it {
                        *way = Way::Held;
                    }
                    is_it
                });
                to_server.write_all(&bytes).await?;
            }
            std::io::Result::Ok(())
        };
        let answering = async {
            let mut now = way.subscribe();
            while let Some(bytes) = some(&mut from_server).await? {
                let _ = now.wait_for(|way| *way != Way::Held).await;
                to_client.write_all(&bytes).await?;
            }
            std::io::Result::Ok(())
        };
        tokio::select! {
            ended = asking => ended,
            ended = answering => ended,
        }
    };
    tokio::select! {
        _ = now.wait_for(|way| *way == Way::Cut) => {}
        _ = passing => {}
    }
}

/// What has come, until the end.
async fn some(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; 16 * 1024];
    let length = from.read(&mut bytes).await?;
    bytes.truncate(length);
    Ok((length > 0).then_some(bytes))
}
