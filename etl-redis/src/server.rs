//! A server of Redis as its users hold it.

use std::sync::Arc;

use crate::address::{Address, RedisOptions};
use crate::cache::StatusCache;
use crate::error::RedisError;
use crate::events::RedisEvents;
use crate::limit::RateLimiter;
use crate::link::Link;
use crate::lock::Locks;
use crate::session::SessionCache;

/// A server of Redis. Clones share one connection; events have one of their own.
#[derive(Debug, Clone)]
pub struct Redis {
    address: Arc<Address>,
    link: Link,
}

impl Redis {
    /// Reads an address (`redis://[USER]:[PASSWORD]@HOST[:PORT][/DATABASE][?prefix=PREFIX]`, `rediss` for TLS). It is connected to
    /// when it is needed.
    ///
    /// # Errors
    /// `Invalid` where the address or an option can't be right.
    pub fn open(url: &str, options: &RedisOptions) -> Result<Self, RedisError> {
        let address = Address::new(url, options).map_err(|fault| fault.of("open"))?;
        let address = Arc::new(address);
        Ok(Self {
            link: Link::new(Arc::clone(&address)),
            address,
        })
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`.
    pub async fn ping(&self) -> Result<(), RedisError> {
        let ping = redis::cmd("PING");
        let pong = self.link.query::<String>(&ping).await;
        pong.map(drop).map_err(|fault| fault.of("ping"))
    }

    /// An event bus between all who have this server and prefix. Has to be called in a Tokio runtime.
    pub fn events(&self) -> RedisEvents {
        RedisEvents::start(Arc::clone(&self.address))
    }

    /// Limits that all processes share.
    pub fn limits(&self) -> RateLimiter {
        RateLimiter::new(self.link.clone())
    }

    /// What jobs are at, for whoever asks often.
    pub fn statuses(&self) -> StatusCache {
        StatusCache::new(self.link.clone())
    }

    /// Sessions, so that not every request has to ask the store.
    pub fn sessions(&self) -> SessionCache {
        SessionCache::new(self.link.clone())
    }

    /// Advisory locks.
    pub fn locks(&self) -> Locks {
        Locks::new(self.link.clone())
    }
}
