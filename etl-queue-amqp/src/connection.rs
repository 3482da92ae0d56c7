//! Connections: how one is made, how long anything may take, and how long to wait between tries.

use std::fmt;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Consumer};

use crate::error::Fault;
use crate::topology::Topology;

/// Seconds; a peer that says nothing for this long is gone. The broker's own proposal of a minute is too long for workers.
const HEARTBEAT: u16 = 10;

/// Where the broker is and what is to be found there. Its `Debug` has no password.
#[derive(Clone)]
pub(crate) struct Broker {
    uri: AMQPUri,
    authorities: Option<String>,
    topology: Topology,
    time_limit: Duration,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("host", &self.uri.authority.host)
            .field("port", &self.uri.authority.port)
            .field("vhost", &self.uri.vhost)
            .field("topology", &self.topology)
            .finish_non_exhaustive()
    }
}

impl Broker {
    pub(crate) fn new(
        url: &str,
        authorities: Option<String>,
        topology: Topology,
        time_limit: Duration,
    ) -> Result<Self, Fault> {
        // The parser's own message may quote what it was given.
        let mut uri: AMQPUri = url.parse().map_err(|_| Fault::Address)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(Self {
            uri,
            authorities,
            topology,
            time_limit,
        })
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// A connection with a channel on which everything is declared.
    pub(crate) async fn connect(&self, role: &str) -> Result<Session, Fault> {
        // Twice: at the broker's start a connection waits for its queues.
        let limit = self.time_limit * 2;
        tokio::time::timeout(limit, self.open(role))
            .await
            .map_err(|_| Fault::Timeout(limit))?
    }

    async fn open(&self, role: &str) -> Result<Session, Fault> {
        let properties =
            ConnectionProperties::default().with_connection_name(format!("etl {role}").into());
        let tls = OwnedTLSConfig {
            identity: None,
            cert_chain: self.authorities.clone(),
        };
        let runtime = lapin::runtime::default_runtime()?;
        let connection =
            Connection::connect_uri_with_config(self.uri.clone(), properties, tls, runtime).await?;
        let channel = connection.create_channel().await?;
        self.topology.declare(&channel).await?;
        Ok(Session {
            connection,
            channel,
            time_limit: self.time_limit,
        })
    }
}

/// One connection with its one channel. Once anything on it has failed it is thrown away, and what was delivered by it and not
/// acknowledged is the broker's again.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    pub(crate) channel: Channel,
    time_limit: Duration,
}

impl Session {
    /// Waits for the broker, but not for ever.
    pub(crate) async fn bounded<T>(
        &self,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Fault> {
        bounded(self.time_limit, call).await
    }

    /// A consumer that gets at most `prefetch` messages that are not acknowledged.
    pub(crate) async fn consume(
        &self,
        queue: &ShortString,
        prefetch: u16,
    ) -> Result<Consumer, Fault> {
        // Of each consumer that comes after it, as quorum queues want it.
        let qos = self.channel.basic_qos(prefetch, BasicQosOptions::default());
        let consume = self.channel.basic_consume(
            queue.clone(),
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        self.bounded(qos).await?;
        self.bounded(consume).await
    }

    pub(crate) async fn cancel(&self, consumer: &Consumer) -> Result<(), Fault> {
        let options = BasicCancelOptions::default();
        self.bounded(self.channel.basic_cancel(consumer.tag(), options))
            .await
    }

    pub(crate) fn time_limit(&self) -> Duration {
        self.time_limit
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// Says good-bye; whether it is heard does not matter.
    pub(crate) async fn close(self) {
        let text = ShortString::from("closed");
        let _ = self.bounded(self.connection.close(200, text)).await;
    }
}

pub(crate) async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(Fault::Broker),
        Err(_) => Err(Fault::Timeout(limit)),
    }
}

/// How long to wait between tries to connect: soon at first, never longer than 2 s, each client at its own times.
pub(crate) fn waits() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_between_tries_is_long_and_there_is_no_last_one() {
        let waits: Vec<Duration> = waits().take(1000).collect();
        assert_eq!(waits.len(), 1000);
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(2)));
    }

    #[test]
    fn a_password_is_in_no_error_and_no_debug_output() {
        let topology = || Topology::new("etl.jobs", "dlq.jobs").unwrap();
        let limit = Duration::from_secs(1);
        let new = |url| Broker::new(url, None, topology(), limit);
        let broker = new("amqps://etl:hunter2@example.org/%2f").unwrap();
        let shown = format!("{broker:?}");
        assert!(shown.contains("example.org") && !shown.contains("hunter2"));
        for url in [
            "amqp://etl:hunter2@:port/%2f",
            "http://etl:hunter2@example.org",
        ] {
            let shown = format!("{:?}", new(url).unwrap_err());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
