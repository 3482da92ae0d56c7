//! The second factor: codes of an app (TOTP, RFC 6238: SHA-1, six digits, 30 s), each good once, and codes for who lost it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::StoreError;

use etl_core::contract::store::{Accounts, ChangeMfa, EndSessions, FailToken, PutToken, TakeToken};
use etl_core::model::{
    MfaChange, OneTimeToken, Page, PageRequest, Purpose, Timestamp, TokenHash, User, UserId,
};
use etl_vault::{Keeper, Kept};
use serde::{Deserialize, Serialize};
use serde_json::json;
use totp_rs::{Builder, Secret as TotpSecret, Totp};
use zeroize::Zeroizing;

use super::error::IdentityError;
use super::secret::{Secret, TokenKind, chance, hash_of};
use super::session::Tokens;
use super::{Client, Identity};

/// What secrets are sealed for.
const SEALED_FOR: &str = "second factor";
/// How long a code may be waited for.
const CHALLENGE_LIFE: Duration = Duration::from_mins(5);
/// How often it may be wrong.
const TRIES: u32 = 5;
/// How many steps of 30 s a clock may be off.
const SKEW: u16 = 1;
/// How many recovery codes a user gets.
const RECOVERY_CODES: usize = 10;
/// Characters of a recovery code: 125 bits of chance.
const RECOVERY_LENGTH: usize = 25;
/// Letters and digits that are not taken for one another.
const RECOVERY_LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// What a challenge is about, as its token carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum About {
    /// A sign-in, of a user whose epoch this was.
    SignIn { epoch: u64 },
    /// A new secret.
    Enrolment,
}

/// A new secret, to be brought into an app.
#[derive(Debug)]
pub(crate) struct Enrolment {
    /// In base32, to be typed.
    pub(crate) secret: Secret,
    /// `otpauth://…`, to be shown as a QR code.
    pub(crate) url: Secret,
    /// The token to send the first code with.
    pub(crate) challenge: Secret,
}

/// What comes of the right code.
#[derive(Debug)]
pub(crate) enum Verification {
    /// A session.
    Session(Tokens),
    /// The second factor is on, and these are good once each when the app is lost.
    On(Vec<Secret>),
}

impl Identity {
    /// A token to send the code of a sign-in with.
    pub(super) async fn challenge(&self, user: &User) -> Result<Secret, IdentityError> {
        self.ask_code(user.id, About::SignIn { epoch: user.epoch })
            .await
    }

    async fn ask_code(&self, user: UserId, about: About) -> Result<Secret, IdentityError> {
        let token = TokenKind::Challenge.token()?;
        let put = PutToken {
            hash: hash_of(token.expose().as_bytes()),
            purpose: Purpose::Mfa,
            user: Some(user),
            data: json!(about),
            ttl: CHALLENGE_LIFE,
            tries: TRIES,
        };
        if self.accounts.put_token(put).await? {
            Ok(token)
        } else {
            Err(IdentityError::Refused("there is no such user"))
        }
    }

    /// Makes a new secret for a user, who shows their password again. Nothing is asked for until its first code was right.
    pub(crate) async fn enrol(
        &self,
        user: UserId,
        password: &Secret,
        client: &Client,
    ) -> Result<Enrolment, IdentityError> {
        let enrol = async {
            let user = self.shown(user, password).await?;
            self.succeeded(&user).await?;
            let secret = chance::<20>()?;
            let sealed = self
                .vault
                .seal_for(SEALED_FOR, user.id.0, &secret[..])
                .await?;
            let change = MfaChange::Enroll { sealed };
            if !self.changed(user.id, change).await? {
                return Err(IdentityError::Conflict(
                    "there is a second factor already: take it away first",
                ));
            }
            let totp = totp(&secret[..], &user.email)?;
            let url = totp.to_url();
            let url = url.map_err(|_| IdentityError::Unusable("the address"))?;
            Ok(Enrolment {
                secret: Secret::new(totp.secret().to_base32()),
                url: Secret::new(url),
                challenge: self.ask_code(user.id, About::Enrolment).await?,
            })
        };
        self.guarded(client, enrol).await
    }

    /// Looks at the code that a challenge asked for.
    pub(crate) async fn verify(
        &self,
        challenge: &Secret,
        code: &Secret,
        client: &Client,
    ) -> Result<Verification, IdentityError> {
        let verify = async {
            let refused = IdentityError::Refused("the challenge is none, or over");
            let Some(hash) = TokenKind::Challenge.hash(challenge.expose()) else {
                return Err(refused);
            };
            let Some(token) = self.accounts.token(hash, Purpose::Mfa).await? else {
                return Err(refused);
            };
            let (Some(id), Ok(about)) = (token.user_id, about(&token)) else {
                return Err(refused);
            };
            let Some(user) = self.accounts.user(id).await? else {
                return Err(refused);
            };
            let verified = match about {
                About::SignIn { epoch } => {
                    if user.epoch != epoch || !user.is_active {
                        return Err(refused);
                    }
                    self.is_code(&user, code).await?.then(Vec::new)
                }
                About::Enrolment => self.confirm(&user, code).await?,
            };
            let purpose = Purpose::Mfa;
            let Some(codes) = verified else {
                self.accounts
                    .fail_token(FailToken { hash, purpose })
                    .await?;
                return Err(IdentityError::Refused("the code is wrong"));
            };
            let taken = self
                .accounts
                .take_token(TakeToken { hash, purpose })
                .await?;
            match about {
                About::SignIn { .. } if taken.is_none() => Err(refused),
                About::SignIn { .. } => {
                    let tokens = self.admitted(&user, client).await?;
                    Ok(Verification::Session(tokens))
                }
                About::Enrolment => Ok(Verification::On(codes)),
            }
        };
        self.guarded(client, verify).await
    }

    /// Takes the second factor away from a user who shows their password and a code. All their sessions end, and a new one begins
    /// here.
    pub(crate) async fn disable_mfa(
        &self,
        user: UserId,
        password: &Secret,
        code: &Secret,
        client: &Client,
    ) -> Result<Tokens, IdentityError> {
        let disable = async {
            let user = self.shown(user, password).await?;
            if !user.mfa.is_on() {
                return Err(IdentityError::Conflict("there is no second factor"));
            }
            if !self.is_code(&user, code).await? {
                return Err(IdentityError::Refused("the code is wrong"));
            }
            self.changed(user.id, MfaChange::Disable).await?;
            self.accounts
                .end_sessions(EndSessions { user: user.id })
                .await?;
            let user = self.accounts.user(user.id).await?;
            let user = user.ok_or(IdentityError::Refused("there is no such user"))?;
            self.admitted(&user, client).await
        };
        self.guarded(client, disable).await
    }

    /// Whether this is a code of the user's app that was not used, or a recovery code. It is used by that.
    async fn is_code(&self, user: &User, code: &Secret) -> Result<bool, IdentityError> {
        if let Some(recovery) = recovery_hash(code) {
            return self
                .changed(user.id, MfaChange::UseRecoveryCode(recovery))
                .await;
        }
        match self.step(user, code).await? {
            Some((sealed, step)) => {
                let accept = MfaChange::AcceptStep { sealed, step };
                self.changed(user.id, accept).await
            }
            None => Ok(false),
        }
    }

    /// Turns a new secret on if the code is its first, and gives the recovery codes.
    async fn confirm(
        &self,
        user: &User,
        code: &Secret,
    ) -> Result<Option<Vec<Secret>>, IdentityError> {
        let Some((sealed, step)) = self.step(user, code).await? else {
            return Ok(None);
        };
        let codes = (0..RECOVERY_CODES).map(|_| recovery_code());
        let codes = codes.collect::<Result<Vec<_>, _>>()?;
        let confirm = MfaChange::Confirm {
            sealed,
            step,
            recovery_codes: codes.iter().filter_map(recovery_hash).collect(),
        };
        Ok(self.changed(user.id, confirm).await?.then_some(codes))
    }

    /// The step that this is a code of, if it is one around now, and the sealed secret that it is of.
    async fn step(
        &self,
        user: &User,
        code: &Secret,
    ) -> Result<Option<(Vec<u8>, u64)>, IdentityError> {
        let Some(sealed) = &user.mfa.sealed else {
            return Ok(None);
        };
        let is_code = code.expose().len() == 6 && code.expose().bytes().all(|b| b.is_ascii_digit());
        if !is_code {
            return Ok(None);
        }
        let secret = self.vault.open_for(SEALED_FOR, user.id.0, sealed).await?;
        let totp = totp(&secret, "")?;
        let step = totp.check(code.expose(), seconds(self.clock.now()));
        Ok(step.map(|step| (sealed.clone(), step)))
    }

    async fn changed(&self, user: UserId, change: MfaChange) -> Result<bool, IdentityError> {
        Ok(self.accounts.change_mfa(ChangeMfa { user, change }).await?)
    }
}

/// The secrets of second factors, as the vault goes through them when its keys change.
#[derive(Debug)]
pub(crate) struct SecondFactors(pub(crate) Arc<dyn Accounts>);

#[async_trait]
impl Keeper for SecondFactors {
    async fn kept(&self, page: &PageRequest) -> Result<Page<Kept>, StoreError> {
        let users = self.0.users(page).await?;
        let kept = users.items.into_iter().filter_map(|user| {
            Some(Kept {
                purpose: SEALED_FOR,
                owner: user.id.0,
                name: user.email,
                sealed: user.mfa.sealed?,
            })
        });
        Ok(Page {
            items: kept.collect(),
            next_cursor: users.next_cursor,
        })
    }

    async fn keep(&self, kept: &Kept, sealed: Vec<u8>) -> Result<bool, StoreError> {
        let change = ChangeMfa {
            user: UserId(kept.owner),
            change: MfaChange::Reseal {
                before: kept.sealed.clone(),
                after: sealed,
            },
        };
        self.0.change_mfa(change).await
    }
}

fn about(token: &OneTimeToken) -> Result<About, serde_json::Error> {
    About::deserialize(&token.data)
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_micros() / 1_000_000).unwrap_or(0)
}

fn totp(secret: &[u8], email: &str) -> Result<Totp, IdentityError> {
    Builder::new()
        .with_secret(TotpSecret::from(secret))
        .with_skew(SKEW)
        .with_account_name(email)
        .with_issuer(Some("etl"))
        .build()
        .map_err(|_| IdentityError::Unusable("the second factor"))
}

/// `ABCDE-FGHJK-…`: five groups of five.
fn recovery_code() -> Result<Secret, IdentityError> {
    let bytes = chance::<RECOVERY_LENGTH>()?;
    let mut code = Zeroizing::new(String::with_capacity(RECOVERY_LENGTH + 4));
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            code.push('-');
        }
        // 32 letters: each byte gives all of them equally often.
        code.push(char::from(RECOVERY_LETTERS[usize::from(byte % 32)]));
    }
    Ok(Secret::new(code.as_str()))
}

/// What a recovery code is known by, however its groups and letters are typed; `None` if it is none.
fn recovery_hash(code: &Secret) -> Option<TokenHash> {
    let typed = code.expose().bytes().filter(|byte| !b"- ".contains(byte));
    let plain: Zeroizing<Vec<u8>> =
        Zeroizing::new(typed.map(|byte| byte.to_ascii_uppercase()).collect());
    let is_one =
        plain.len() == RECOVERY_LENGTH && plain.iter().all(|byte| RECOVERY_LETTERS.contains(byte));
    is_one.then(|| hash_of(&plain))
}
