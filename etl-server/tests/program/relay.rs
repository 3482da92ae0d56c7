//! A way to a server that can be cut.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes on what comes to an address of its own, as long as it is not cut.
pub struct Relay {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
}

impl Relay {
    /// To a `HOST:PORT`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            is_cut: watch::Sender::new(false),
        };
        let (server, is_cut) = (server.to_owned(), relay.is_cut.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, server.clone(), is_cut.subscribe()));
            }
        });
        relay
    }

    /// The URL of something on the server, by way of this.
    pub fn instead_of(&self, server: &str, url: &str) -> String {
        assert!(url.contains(server));
        url.replace(server, &self.address.to_string())
    }

    /// Ends every connection, and lets no other begin until it is mended.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn pass_on(mut stream: TcpStream, server: String, mut is_cut: watch::Receiver<bool>) {
    let passing = async {
        let mut server = TcpStream::connect(server).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut server).await
    };
    tokio::select! {
        _ = is_cut.wait_for(|is_cut| *is_cut) => {}
        _ = passing => {}
    }
}
