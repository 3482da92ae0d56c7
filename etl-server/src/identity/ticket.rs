//! Tickets: a browser can't send a header with a WebSocket's request, and a token in a URL ends up in logs. A ticket may: it is good
//! once, for half a minute.

use std::time::Duration;

use etl_core::contract::store::{PutToken, TakeToken};
use etl_core::model::{ApiKeyId, Purpose, SessionId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Identity;
use super::error::IdentityError;
use super::principal::{Kind, Principal, Refused};
use super::secret::{Secret, TokenKind, hash_of};

/// How long a ticket is good.
pub(crate) const LIFE: Duration = Duration::from_secs(30);

/// How whoever asked for a ticket had shown who they are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shown {
    Session(SessionId),
    Key(ApiKeyId),
}

impl Identity {
    /// A ticket for whoever asks.
    pub(crate) async fn ticket(&self, principal: &Principal) -> Result<Secret, IdentityError> {
        let shown = match &principal.kind {
            Kind::Session(session) => Shown::Session(*session),
            Kind::ApiKey { id, .. } => Shown::Key(*id),
        };
        let ticket = TokenKind::Ticket.token()?;
        let put = PutToken {
            hash: hash_of(ticket.expose().as_bytes()),
            purpose: Purpose::Socket,
            user: Some(principal.user),
            data: json!(shown),
            ttl: LIFE,
            tries: 1,
        };
        if self.accounts.put_token(put).await? {
            Ok(ticket)
        } else {
            Err(IdentityError::Refused("there is no such user"))
        }
    }

    /// Who asked for this ticket, which is good no more.
    pub(crate) async fn by_ticket(&self, ticket: &str) -> Result<Principal, Refused> {
        let hash = TokenKind::Ticket.hash(ticket);
        let hash = hash.ok_or(Refused::Unknown("it is no ticket"))?;
        let purpose = Purpose::Socket;
        let taken = self
            .accounts
            .take_token(TakeToken { hash, purpose })
            .await?;
        let taken = taken.ok_or(Refused::Unknown("there is no such ticket"))?;
        let (Some(user), Ok(shown)) = (taken.user_id, serde_json::from_value(taken.data)) else {
            return Err(Refused::Unknown("the ticket is nobody's"));
        };
        match shown {
            Shown::Session(session) => self.of_session(user, session).await,
            Shown::Key(key) => self.of_key(user, key).await,
        }
    }

    /// The user of a session that has not ended, as they are now.
    pub(super) async fn of_session(
        &self,
        user: UserId,
        session: SessionId,
    ) -> Result<Principal, Refused> {
        let known = self.known(user).await?;
        let known = known.ok_or(Refused::Unknown("there is no such user"))?;
        if !known.user.is_active {
            return Err(Refused::Unknown("the user is not active"));
        }
        if !known.sessions.contains(&session) {
            return Err(Refused::Unknown("the session was ended"));
        }
        Ok(Principal {
            user,
            name: known.user.email.clone(),
            role: known.user.role,
            kind: Kind::Session(session),
        })
    }

    /// The user of an API key that is good, as they are now.
    pub(super) async fn of_key(&self, user: UserId, key: ApiKeyId) -> Result<Principal, Refused> {
        let known = self.known(user).await?;
        let known = known.ok_or(Refused::Unknown("there is no such user"))?;
        if !known.user.is_active {
            return Err(Refused::Unknown("the key's user is not active"));
        }
        let keys = self.accounts.api_keys(user).await?;
        let now = self.clock.now();
        let key = keys
            .into_iter()
            .find(|one| one.id == key && one.is_good(now));
        let key = key.ok_or(Refused::Unknown("there is no such API key"))?;
        Ok(Principal {
            user,
            name: known.user.email.clone(),
            role: known.user.role,
            kind: Kind::ApiKey {
                id: key.id,
                scopes: key.scopes,
            },
        })
    }
}
