//! The first admin, whom nobody could make. Whoever starts the server is shown a token, and whoever has it makes that user.

use std::time::Duration;

use etl_core::contract::store::{CreateUser, Others, PutToken, TakeToken, UserCreated};
use etl_core::model::{PageRequest, Purpose, Role, UserId};
use serde_json::Value;
use uuid::Uuid;

use super::error::IdentityError;
use super::secret::{Secret, TokenKind};
use super::session::Tokens;
use super::{Client, Identity};

/// How long the token is good. The next start gives another one.
const LIFE: Duration = Duration::from_hours(24);

impl Identity {
    /// A token to make the first admin with; none if there are users.
    pub(crate) async fn setup_token(&self) -> Result<Option<Secret>, IdentityError> {
        let users = self.accounts.users(&PageRequest::first(1)).await?;
        if !users.items.is_empty() {
            return Ok(None);
        }
        let token = TokenKind::Setup.token()?;
        let put = PutToken {
            hash: super::secret::hash_of(token.expose().as_bytes()),
            purpose: Purpose::Setup,
            user: None,
            data: Value::Null,
            ttl: LIFE,
            tries: 1,
        };
        self.accounts.put_token(put).await?;
        Ok(Some(token))
    }

    /// Makes the first admin, and signs them in.
    pub(crate) async fn set_up(
        &self,
        token: &Secret,
        email: &str,
        password: &Secret,
        client: &Client,
    ) -> Result<Tokens, IdentityError> {
        let set_up = async {
            let refused = IdentityError::Refused("it is no set-up token that is good");
            let Some(hash) = TokenKind::Setup.hash(token.expose()) else {
                return Err(refused);
            };
            // Looked at before the work, taken after it: a password that can't be taken does not cost the token.
            if self.accounts.token(hash, Purpose::Setup).await?.is_none() {
                return Err(refused);
            }
            let password_hash = self.hash_new(password, email).await?;
            let take = TakeToken {
                hash,
                purpose: Purpose::Setup,
            };
            if self.accounts.take_token(take).await?.is_none() {
                return Err(refused);
            }
            let create = CreateUser {
                id: UserId(Uuid::now_v7()),
                email: email.into(),
                password_hash,
                role: Role::Admin,
                others: Others::Refused,
            };
            match self.accounts.create_user(create).await? {
                UserCreated::Created(user) => self.admitted(&user, client).await,
                UserCreated::EmailTaken | UserCreated::NotFirst => Err(IdentityError::Conflict(
                    "there are users already: one of them who is an admin makes others",
                )),
            }
        };
        self.guarded(client, set_up).await
    }
}
