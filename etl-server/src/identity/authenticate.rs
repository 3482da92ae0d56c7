//! Who asks, by an access token or an API key.

use std::sync::Arc;

use async_trait::async_trait;
use etl_core::model::{SessionState, UserId};
use tokio::time::Instant;

use super::access_token::{self, Claims, Flaw};
use super::principal::{Authenticate, Kind, Principal, Refused};
use super::secret::{TokenKind, hash_of};
use super::{Identity, Known};

#[async_trait]
impl Authenticate for Identity {
    async fn principal(&self, authorization: Option<&str>) -> Result<Principal, Refused> {
        let header = authorization.ok_or(Refused::Unknown("no authorization"))?;
        let token = match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token,
            _ => return Err(Refused::Unknown("another scheme than Bearer")),
        };
        if token.starts_with(TokenKind::ApiKey.prefix()) {
            self.by_api_key(token).await
        } else {
            self.by_access_token(token).await
        }
    }

    async fn again(&self, principal: &Principal) -> Result<Principal, Refused> {
        match principal.kind {
            Kind::Session(session) => self.of_session(principal.user, session).await,
            Kind::ApiKey { id, .. } => self.of_key(principal.user, id).await,
        }
    }
}

impl Identity {
    async fn by_access_token(&self, token: &str) -> Result<Principal, Refused> {
        let claims = self.claims(token).await;
        let claims = claims.map_err(|flaw| {
            Refused::Unknown(match flaw {
                Flaw::NoToken => "it is no token",
                Flaw::UnknownKey => "its key is not one of now",
                Flaw::Signature => "its signature is wrong",
                Flaw::Claims => "it does not say what access tokens say",
                Flaw::NotGood => "it is not good now, or not here",
            })
        })?;
        let known = self.known(claims.sub).await?;
        let known = known.ok_or(Refused::Unknown("there is no such user"))?;
        let user = &known.user;
        if !user.is_active {
            return Err(Refused::Unknown("the user is not active"));
        }
        if user.epoch != claims.epoch {
            return Err(Refused::Unknown("the user's sessions were ended"));
        }
        if !known.sessions.contains(&claims.sid) {
            return Err(Refused::Unknown("the session was ended"));
        }
        Ok(Principal {
            user: user.id,
            name: user.email.clone(),
            role: user.role,
            kind: Kind::Session(claims.sid),
        })
    }

    async fn claims(&self, token: &str) -> Result<Arc<Claims>, Flaw> {
        let now = self.clock.now();
        // A signature costs more than everything else of a request that only looks.
        let hash = hash_of(token.as_bytes());
        if let Some(claims) = self.checked.get(&hash) {
            return if claims.is_good(now) {
                Ok(claims)
            } else {
                Err(Flaw::NotGood)
            };
        }
        let looked_at = Instant::now();
        let read = match access_token::read(token, &*self.keys.get().await, now) {
            // Another process may sign with a key that came into the file just now.
            Err(Flaw::UnknownKey) => {
                access_token::read(token, &*self.keys.for_stranger().await, now)
            }
            read => read,
        };
        let claims = Arc::new(read?);
        self.checked.note(hash, Arc::clone(&claims), looked_at);
        Ok(claims)
    }

    /// The user with their live sessions, as they were at most a moment ago.
    pub(super) async fn known(&self, id: UserId) -> Result<Option<Arc<Known>>, Refused> {
        if let Some(known) = self.users.get(&id) {
            return Ok(Some(known));
        }
        let looked_at = Instant::now();
        let Some(user) = self.accounts.user(id).await? else {
            return Ok(None);
        };
        let now = self.clock.now();
        let sessions = self.accounts.sessions(id).await?;
        let live = sessions
            .into_iter()
            .filter(|session| session.state(now) != SessionState::Revoked)
            .map(|session| session.id)
            .collect();
        let known = Arc::new(Known {
            user,
            sessions: live,
        });
        self.users.note(id, Arc::clone(&known), looked_at);
        Ok(Some(known))
    }

    async fn by_api_key(&self, token: &str) -> Result<Principal, Refused> {
        let hash = TokenKind::ApiKey.hash(token);
        let hash = hash.ok_or(Refused::Unknown("it is no API key"))?;
        if let Some(principal) = self.by_key.get(&hash) {
            return Ok(Principal::clone(&principal));
        }
        let looked_at = Instant::now();
        let found = self.accounts.use_api_key(hash).await?;
        let (key, user) = found.ok_or(Refused::Unknown("there is no such API key"))?;
        if !user.is_active {
            return Err(Refused::Unknown("the key's user is not active"));
        }
        let principal = Principal {
            user: user.id,
            name: user.email,
            role: user.role,
            kind: Kind::ApiKey {
                id: key.id,
                scopes: key.scopes,
            },
        };
        self.by_key
            .note(hash, Arc::new(principal.clone()), looked_at);
        Ok(principal)
    }
}
