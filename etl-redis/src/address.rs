//! Where Redis is, and how a connection to it is made. Nothing of this is ever shown but host and port.

use std::fmt;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _};
use redis::{ProtocolVersion, TlsCertificates};

use crate::error::Fault;
use crate::names::Names;

/// What is not in the address.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisOptions {
    /// What stands before the name of every key and channel, so that several deployments can share a server; nothing by default.
    /// `?prefix=…` in the address is the same.
    pub prefix: Option<String>,
    /// The longest wait for any answer; 1 s.
    pub time_limit: Duration,
    /// Certificates (PEM) of the authorities to trust in place of the system's, for `rediss`.
    pub authorities: Option<String>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: None,
            time_limit: Duration::from_secs(1),
            authorities: None,
        }
    }
}

impl RedisOptions {
    /// With a prefix.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// With another longest wait.
    pub fn with_time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// With authorities of one's own.
    pub fn with_authorities(mut self, pem: impl Into<String>) -> Self {
        self.authorities = Some(pem.into());
        self
    }
}

/// A server and the names that are used there. Its `Debug` has no password.
#[derive(Clone)]
pub(crate) struct Address {
    client: Client,
    names: Names,
    time_limit: Duration,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                (host.as_str(), *port)
            }
            _ => ("a socket", 0),
        };
        f.debug_struct("Address")
            .field("host", &host)
            .field("port", &port)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Address {
    pub(crate) fn new(url: &str, options: &RedisOptions) -> Result<Self, Fault> {
        // The parser's own messages may quote what they were given.
        let parsed = redis::parse_redis_url(url).ok_or(Fault::Address)?;
        let has_tls = match parsed.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(Fault::Address),
        };
        // The client takes `#insecure` as a wish not to look at certificates.
        if parsed.fragment().is_some() {
            return Err(Fault::Address);
        }
        let mut prefix = options.prefix.clone();
        for (name, value) in parsed.query_pairs() {
            match &*name {
                "prefix" => prefix = Some(value.into_owned()),
                _ => return Err(Fault::Parameter),
            }
        }
        let names = Names::new(prefix.as_deref().unwrap_or_default())?;
        let info = parsed.into_connection_info().map_err(|_| Fault::Address)?;
        let settings = info.redis_settings().clone();
        // Messages of channels and answers come by one connection, each in its place.
        let info = info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3));
        let client = if has_tls {
            // The client takes whatever provider of cryptography the process has, and there may be none yet.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: options.authorities.clone().map(String::into_bytes),
            };
            Client::build_with_tls(info, certificates).map_err(|_| Fault::Authorities)?
        } else {
            Client::open(info).map_err(|_| Fault::Address)?
        };
        Ok(Self {
            client,
            names,
            time_limit: options.time_limit.max(Duration::from_millis(1)),
        })
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn time_limit(&self) -> Duration {
        self.time_limit
    }

    /// Connects. What is pushed over the connection goes to `pushed`.
    pub(crate) async fn connect(
        &self,
        pushed: Option<Box<dyn AsyncPushSender>>,
    ) -> Result<MultiplexedConnection, Fault> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.time_limit))
            .set_response_timeout(Some(self.time_limit));
        if let Some(pushed) = pushed {
            config = config.set_push_sender(move |info| pushed.send(info));
        }
        // Twice: a name is looked up, and a greeting is answered.
        let limit = self.time_limit * 2;
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(Fault::Timeout(limit)),
        }
    }
}

/// The longest wait between tries to connect, but for a part that is left to chance.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long to wait between tries to connect: soon at first, never longer than 2 s, each client at its own times.
pub(crate) fn waits() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST_WAIT)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(url: &str) -> Result<Address, Fault> {
        Address::new(url, &RedisOptions::default())
    }

    #[test]
    fn no_wait_between_tries_is_long_and_there_is_no_last_one() {
        let waits: Vec<Duration> = waits().take(1000).collect();
        assert_eq!(waits.len(), 1000);
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(2)));
    }

    #[test]
    fn a_password_is_in_no_error_and_no_debug_output() {
        for url in [
            "redis://:hunter2@example.org:6379/0?prefix=blue:",
            "rediss://etl:hunter2@example.org",
        ] {
            let shown = format!("{:?}", new(url).unwrap());
            assert!(
                shown.contains("example.org") && !shown.contains("hunter2"),
                "{shown}"
            );
        }
        for url in [
            "redis://:hunter2@example.org:port/0",
            "redis://:hunter2@example.org/hunter2",
            "redis://:hunter2@example.org/?prefix=hunter2*",
            "redis://example.org/?hunter2=1",
            "rediss://:hunter2@example.org/#insecure",
            "redis://:hunter2@",
            "amqp://:hunter2@example.org",
            "unix:///run/hunter2",
            "hunter2",
        ] {
            let fault = new(url).unwrap_err();
            let shown = format!("{fault:?} {fault}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        let pem = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n";
        let options = RedisOptions::default().with_authorities(pem);
        let refused = Address::new("rediss://example.org", &options);
        assert!(matches!(refused, Err(Fault::Authorities)), "{refused:?}");
    }
}
