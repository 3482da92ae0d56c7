//! Sessions: begun, gone on with, and ended.

use etl_core::contract::store::{OpenSession, RevokeSession, RotateToken, TokenRotation};
use etl_core::model::{SessionId, User, UserId};
use uuid::Uuid;

use super::access_token::{self, Claims};
use super::error::IdentityError;
use super::secret::{Secret, TokenKind, hash_of};
use super::{Client, Identity};

/// The longest that is kept of what a client says that it is.
const LONGEST_AGENT: usize = 200;

/// What somebody who has signed in goes on with.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// Good for minutes.
    pub(crate) access: Secret,
    /// Good once, for the next pair.
    pub(crate) refresh: Secret,
}

impl Client {
    /// What of it is compared between the exchanges of a token.
    fn likeness(&self) -> String {
        let agent = self.agent.chars().filter(|c| !c.is_control());
        agent.take(LONGEST_AGENT).collect()
    }
}

impl Identity {
    /// A new session of a user as they were when they showed who they are.
    pub(super) async fn open_session(
        &self,
        user: &User,
        client: &Client,
    ) -> Result<Tokens, IdentityError> {
        let refresh = TokenKind::Refresh.token()?;
        let open = OpenSession {
            id: SessionId(Uuid::now_v7()),
            user: user.id,
            epoch: user.epoch,
            token: hash_of(refresh.expose().as_bytes()),
            client: client.likeness(),
        };
        let session = self.accounts.open_session(open).await?;
        let session = session.ok_or(IdentityError::Refused("the user was changed meanwhile"))?;
        // Its sessions are known without this one.
        self.forget(user.id);
        Ok(Tokens {
            access: self.access_token(user.id, session.id, user.epoch).await,
            refresh,
        })
    }

    async fn access_token(&self, user: UserId, session: SessionId, epoch: u64) -> Secret {
        let claims = Claims::new(user, session, epoch, self.clock.now());
        Secret::new(access_token::sign(&claims, &*self.keys.get().await))
    }

    /// Exchanges a refresh token for the next pair. One that was exchanged before ends its session: two have it.
    pub(crate) async fn refresh(
        &self,
        token: &Secret,
        client: &Client,
    ) -> Result<Tokens, IdentityError> {
        let old = TokenKind::Refresh.hash(token.expose());
        let old = old.ok_or(IdentityError::Refused("it is no refresh token"))?;
        let refresh = self.keys.get().await.successor(token);
        let rotate = RotateToken {
            old,
            new: hash_of(refresh.expose().as_bytes()),
            client: client.likeness(),
        };
        let (user, epoch, session) = match self.accounts.rotate_token(rotate).await? {
            TokenRotation::Rotated {
                user,
                epoch,
                session,
            }
            | TokenRotation::Repeated {
                user,
                epoch,
                session,
            } => (user, epoch, session),
            TokenRotation::Reused { user, session } => {
                tracing::warn!(
                    %user, %session, address = %client.address,
                    "a refresh token came a second time: its session has been ended"
                );
                self.forget(user);
                return Err(IdentityError::Refused("the token was used before"));
            }
            TokenRotation::Expired { .. } => {
                return Err(IdentityError::Refused("the session has expired"));
            }
            TokenRotation::Revoked { .. } => {
                return Err(IdentityError::Refused("the session was ended"));
            }
            TokenRotation::Unknown => {
                return Err(IdentityError::Refused("nobody knows the token"));
            }
        };
        Ok(Tokens {
            access: self.access_token(user, session, epoch).await,
            refresh,
        })
    }

    /// Ends a session of a user. Whether it was live.
    pub(crate) async fn end_session(
        &self,
        user: UserId,
        session: SessionId,
    ) -> Result<bool, IdentityError> {
        let was_live = self
            .accounts
            .revoke_session(RevokeSession { user, session })
            .await?;
        self.forget(user);
        Ok(was_live)
    }
}
