//! Sessions: families of refresh tokens of which one at a time is good.

use std::time::Duration;

use super::token::TokenHash;
use crate::model::ids::{SessionId, UserId};
use crate::model::time::Timestamp;

/// How long a session lasts, however much it is used.
const LIFE: Duration = Duration::from_hours(7 * 24);

/// How long a session lasts that is not used.
const IDLE: Duration = Duration::from_hours(24);

/// How long a client may ask again for the successor of a token whose answer it lost.
const GRACE: Duration = Duration::from_secs(10);

/// One sign-in of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The id, the same over all its tokens.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// What the client looks like to the server; only compared.
    pub client: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When its token was last exchanged.
    pub last_used_at: Timestamp,
    /// When it ends, however much it is used: 7 days after it began.
    pub expires_at: Timestamp,
    /// When it ends if it is not used: 24 hours after it was.
    pub idle_at: Timestamp,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Its last token is good.
    Live,
    /// It was not used for too long, or has lasted its time.
    Expired,
    /// It was ended.
    Revoked,
}

/// What becomes of an exchange of a token that belongs to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The new token takes the place of the old one.
    Rotated,
    /// The same client asked for the same exchange again within 10 s: the new token is in its place already.
    Repeated,
    /// The token was exchanged before, so that two have it: the whole session ends.
    Reused,
    /// The session has expired.
    Expired,
    /// The session was ended before.
    Revoked,
}

impl Session {
    /// A session that begins now.
    pub fn begin(id: SessionId, user_id: UserId, client: String, now: Timestamp) -> Self {
        Self {
            id,
            user_id,
            client,
            created_at: now,
            last_used_at: now,
            expires_at: now + LIFE,
            idle_at: now + IDLE,
            revoked_at: None,
        }
    }

    /// Where it is at this time.
    pub fn state(&self, now: Timestamp) -> SessionState {
        if self.revoked_at.is_some() {
            SessionState::Revoked
        } else if now >= self.ends_at() {
            SessionState::Expired
        } else {
            SessionState::Live
        }
    }

    /// When it ended, or will if it is not used.
    pub fn ends_at(&self) -> Timestamp {
        let ends_at = self.expires_at.min(self.idle_at);
        self.revoked_at.map_or(ends_at, |at| at.min(ends_at))
    }

    /// Ends it now, unless it was ended before.
    pub fn revoke(&mut self, now: Timestamp) {
        self.revoked_at = self.revoked_at.or(Some(now));
    }

    /// Ends it now, if it is live. Whether it was.
    pub fn end(&mut self, now: Timestamp) -> bool {
        let is_live = self.state(now) == SessionState::Live;
        self.revoke(now);
        is_live
    }

    /// Exchanges one of its tokens for `new`, and answers what came of it. `exchanged` is when the token was exchanged before,
    /// and for which one; `new_is_live` whether that one has not been exchanged in its turn.
    pub fn rotate(
        &mut self,
        exchanged: Option<(Timestamp, TokenHash)>,
        new: TokenHash,
        new_is_live: bool,
        client: &str,
        now: Timestamp,
    ) -> Rotation {
        match self.state(now) {
            SessionState::Revoked => return Rotation::Revoked,
            SessionState::Expired => return Rotation::Expired,
            SessionState::Live => {}
        }
        let Some((at, successor)) = exchanged else {
            client.clone_into(&mut self.client);
            self.last_used_at = now;
            self.idle_at = now + IDLE;
            return Rotation::Rotated;
        };
        let is_same = successor == new && new_is_live && client == self.client;
        if is_same && now < at + GRACE {
            return Rotation::Repeated;
        }
        self.revoke(now);
        Rotation::Reused
    }
}
