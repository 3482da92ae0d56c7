//! Sessions at hand, so that not every request has to ask the store. The store has the truth.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::cache::millis;
use crate::error::{Causes, Fault, RedisError};
use crate::link::Link;

/// The longest session that is kept.
const LONGEST: usize = 64 * 1024;

/// The SHA-256 of a token. The token itself is in no key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// What is known of a session.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is, as the server needs it; no secret belongs in it.
    pub user_data: Value,
    /// When it ends, in seconds since 1970; whoever gets it compares.
    pub expires_at: i64,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Sessions, each for a while.
///
/// # Contract
/// It is a copy: `get` MAY give nothing at any time; then the store is asked. A session that was revoked MAY still be given for
/// as long as it was put for, where `remove` could not reach Redis, so whoever puts one says how long that may be.
#[derive(Debug, Clone)]
pub struct SessionCache {
    link: Link,
}

impl SessionCache {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Keeps a session for so long (at least a millisecond).
    pub async fn put(&self, user: Uuid, token: TokenHash, session: &Session, keep: Duration) {
        if let Err(fault) = self.try_put(user, token, session, keep).await {
            tracing::debug!(error = %Causes(&fault), "a session is not cached");
        }
    }

    async fn try_put(
        &self,
        user: Uuid,
        token: TokenHash,
        session: &Session,
        keep: Duration,
    ) -> Result<(), Fault> {
        let text = serde_json::to_vec(session).map_err(|_| Fault::Value("it has no JSON"))?;
        if text.len() > LONGEST {
            return Err(Fault::Value("a session has at most 64 KiB"));
        }
        let mut command = redis::cmd("SET");
        command.arg(self.key(user, token)).arg(text);
        command.arg("PX").arg(millis(keep));
        self.link.query::<()>(&command).await
    }

    /// The session, if it is at hand.
    pub async fn get(&self, user: Uuid, token: TokenHash) -> Option<Session> {
        let mut command = redis::cmd("GET");
        command.arg(self.key(user, token));
        match self.link.query::<Option<Vec<u8>>>(&command).await {
            Ok(text) => text.and_then(|text| serde_json::from_slice(&text).ok()),
            Err(fault) => {
                tracing::debug!(error = %Causes(&fault), "the cache is away");
                None
            }
        }
    }

    /// Forgets a session: at its end, or when it is revoked.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`: it may still be given for as long as it was put for.
    pub async fn remove(&self, user: Uuid, token: TokenHash) -> Result<(), RedisError> {
        let mut command = redis::cmd("DEL");
        command.arg(self.key(user, token));
        let removed = self.link.query::<u64>(&command).await;
        removed
            .map(drop)
            .map_err(|fault| fault.of("remove a session"))
    }

    fn key(&self, user: Uuid, token: TokenHash) -> String {
        self.link.names().key(&[&"session", &user, &token])
    }
}
