//! Signing in with a password. Whether there is such a user can't be told from the answer, nor from when it comes.

use std::time::Duration;

use etl_core::contract::store::{AdmitLogin, LoginGate, LoginSucceeded, UpdateUser, UserWrite};
use etl_core::model::{TokenHash, User, UserEdit, UserId, email_key};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::error::IdentityError;
use super::password::{self, Verified};
use super::secret::{Secret, hash_of};
use super::session::Tokens;
use super::{Client, Identity};

/// When a refusal is told, counted from the question. Before, how long the answer took would tell what was found.
const REFUSED_AFTER: Duration = Duration::from_millis(400);

/// What comes of the right password.
#[derive(Debug)]
pub(crate) enum SignedIn {
    /// A session.
    Session(Tokens),
    /// A code is asked for, with this token.
    Challenge(Secret),
}

impl Identity {
    /// Signs somebody in, or asks for their second factor.
    pub(crate) async fn sign_in(
        &self,
        email: &str,
        password: &Secret,
        client: &Client,
    ) -> Result<SignedIn, IdentityError> {
        self.guarded(client, self.try_sign_in(email, password, client))
            .await
    }

    /// Has a guess looked at, if the address may make one, and tells of a refusal when all refusals are told.
    pub(super) async fn guarded<T>(
        &self,
        client: &Client,
        guess: impl Future<Output = Result<T, IdentityError>>,
    ) -> Result<T, IdentityError> {
        let asked = Instant::now();
        let admitted = self.throttle.admit(client.address);
        admitted.map_err(IdentityError::Wait)?;
        let outcome = guess.await;
        if let Err(IdentityError::Refused(reason)) = &outcome {
            tracing::info!(address = %client.address, reason, "a sign-in failed");
            sleep_until(asked + REFUSED_AFTER).await;
        } else {
            self.throttle.succeeded(client.address);
        }
        outcome
    }

    async fn try_sign_in(
        &self,
        email: &str,
        password: &Secret,
        client: &Client,
    ) -> Result<SignedIn, IdentityError> {
        let user = self.accounts.user_by_email(email).await?;
        let user = self.checked(email, user, password).await?;
        if !user.is_active {
            return Err(IdentityError::Refused("the user is not active"));
        }
        if user.mfa.is_on() {
            return self.challenge(&user).await.map(SignedIn::Challenge);
        }
        self.admitted(&user, client).await.map(SignedIn::Session)
    }

    /// The user, if the password is theirs. It counts as failed until [`admitted`](Self::admitted).
    async fn checked(
        &self,
        email: &str,
        user: Option<User>,
        password: &Secret,
    ) -> Result<User, IdentityError> {
        let guessed = guessed(email);
        let admitted = self.throttle.admit_guess(guessed);
        admitted.map_err(IdentityError::Wait)?;
        // The store is asked about somebody in any case.
        let id = user
            .as_ref()
            .map_or_else(|| UserId(Uuid::now_v7()), |user| user.id);
        let gate = self.accounts.admit_login(AdmitLogin { user: id }).await?;
        self.throttle.guessed(guessed);
        if let LoginGate::Locked { until, .. } = gate {
            // Others have guessed elsewhere. It is answered as all that is wrong: only who is a user can be locked.
            tracing::info!(user = %id, %until, "no sign-in is looked at");
            return Err(IdentityError::Refused("the user has to wait"));
        }
        let hash = user.as_ref().map(|user| &*user.password_hash);
        let verified = self.passwords.verify(password, hash).await?;
        match (user, verified) {
            (Some(user), Verified::Yes) => Ok(user),
            (Some(user), Verified::AndWeak) => self.rehashed(user, password).await,
            _ => Err(IdentityError::Refused(
                "the address or the password is wrong",
            )),
        }
    }

    /// The user with a hash as they are made now. Their sessions end with the old one.
    async fn rehashed(&self, user: User, password: &Secret) -> Result<User, IdentityError> {
        let hash = self.passwords.hash(password).await?;
        let update = UpdateUser {
            id: user.id,
            expected_version: Some(user.version),
            edit: UserEdit {
                password_hash: Some(hash),
                ..UserEdit::default()
            },
        };
        match self.accounts.update_user(update).await? {
            UserWrite::Written(user) => Ok(*user),
            // Somebody else changed the user: the next time will do.
            _ => Ok(user),
        }
    }

    /// Lets somebody in who has shown everything that is asked for.
    pub(super) async fn admitted(
        &self,
        user: &User,
        client: &Client,
    ) -> Result<Tokens, IdentityError> {
        self.succeeded(user).await?;
        let tokens = self.open_session(user, client).await?;
        tracing::info!(user = %user.id, address = %client.address, "signed in");
        Ok(tokens)
    }

    /// Forgets what failed before.
    pub(super) async fn succeeded(&self, user: &User) -> Result<(), IdentityError> {
        let succeeded = LoginSucceeded { user: user.id };
        self.accounts.login_succeeded(succeeded).await?;
        self.throttle.forgive(guessed(&user.email));
        Ok(())
    }

    /// The user of a session, who has shown again that they know their password.
    pub(super) async fn shown(
        &self,
        user: UserId,
        password: &Secret,
    ) -> Result<User, IdentityError> {
        let found = self.accounts.user(user).await?;
        let user = found.ok_or(IdentityError::Refused("there is no such user"))?;
        let email = user.email.clone();
        self.checked(&email, Some(user), password).await
    }

    /// Gives a user another password. All their sessions end, and a new one begins here.
    pub(crate) async fn change_password(
        &self,
        user: UserId,
        current: &Secret,
        new: &Secret,
        client: &Client,
    ) -> Result<Tokens, IdentityError> {
        let change = async {
            let user = self.shown(user, current).await?;
            let hash = self.hash_new(new, &user.email).await?;
            let update = UpdateUser {
                id: user.id,
                expected_version: Some(user.version),
                edit: UserEdit {
                    password_hash: Some(hash),
                    ..UserEdit::default()
                },
            };
            match self.accounts.update_user(update).await? {
                UserWrite::Written(user) => self.admitted(&user, client).await,
                _ => Err(IdentityError::Conflict(
                    "somebody else changed the user meanwhile: try again",
                )),
            }
        };
        self.guarded(client, change).await
    }

    /// What is kept of a new password, if it may be one.
    pub(crate) async fn hash_new(
        &self,
        password: &Secret,
        email: &str,
    ) -> Result<String, IdentityError> {
        match password::fault(password, email) {
            Some(fault) => Err(IdentityError::Password(fault)),
            None => Ok(self.passwords.hash(password).await?),
        }
    }
}

/// What guesses at a user's password are counted by.
fn guessed(email: &str) -> TokenHash {
    hash_of(email_key(email).as_bytes())
}
