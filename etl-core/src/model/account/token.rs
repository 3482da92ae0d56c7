//! What is kept of tokens: hashes, and what each is good for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::ids::{ApiKeyId, UserId};
use crate::model::status::vocabulary;
use crate::model::time::Timestamp;

/// The SHA-256 of a token that has 256 bits of chance: what a store knows it by, and nobody can go back from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// A hash from its bytes; `None` if they are not 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// It shows nothing.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// A key by which a program signs in as its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The id.
    pub id: ApiKeyId,
    /// Whose.
    pub user_id: UserId,
    /// What it is for, in the user's words.
    pub name: String,
    /// How it begins, for people to know it by.
    pub prefix: String,
    /// The hash of all of it.
    pub hash: TokenHash,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// When it ends; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How much later a key has to be used for that to be noted.
const NOTED_EVERY: Duration = Duration::from_mins(1);

impl ApiKey {
    /// Notes that it was used, at most once a minute. Whether there was something to note.
    pub fn note_use(&mut self, now: Timestamp) -> bool {
        let is_due = self
            .last_used_at
            .is_none_or(|at| now.since(at) >= NOTED_EVERY);
        if is_due {
            self.last_used_at = Some(now);
        }
        is_due
    }

    /// Whether it is good at this time.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

vocabulary! {
    /// What a one-time token is for. A token for one purpose is none for another.
    Purpose ("purpose") {
        /// Makes the first user.
        Setup = "setup",
        /// Goes on with a sign-in that asks for a second factor.
        Mfa = "mfa",
        /// Opens a WebSocket.
        Socket = "socket",
    }
}

/// A token that is good once.
#[derive(Debug, Clone, PartialEq)]
pub struct OneTimeToken {
    /// The token's hash.
    pub hash: TokenHash,
    /// What it is for.
    pub purpose: Purpose,
    /// Whose, if it is a user's.
    pub user_id: Option<UserId>,
    /// What whoever made it wants to find again.
    pub data: Value,
    /// Tries that may still fail.
    pub tries_left: u32,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl OneTimeToken {
    /// Whether it is good for this at this time.
    pub fn is_good(&self, purpose: Purpose, now: Timestamp) -> bool {
        self.purpose == purpose && now < self.expires_at
    }
}
