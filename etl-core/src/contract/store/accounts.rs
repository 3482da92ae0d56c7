//! Who may sign in, as a store keeps it. Not part of [`Store`](super::Store): a program that embeds the engine has no users.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::error::Result;
use crate::model::{
    ApiKey, ApiKeyId, Mfa, MfaChange, OneTimeToken, Page, PageRequest, Purpose, Role, Rotation,
    Session, SessionId, Timestamp, TokenHash, User, UserEdit, UserId,
};

/// The most JSON that a one-time token carries, in bytes.
pub const MAX_TOKEN_DATA: usize = 4096;

/// Keeps users and what they sign in with. It never sees a password, a secret or a token: hashes and sealed bytes alone.
///
/// # Contract
/// Between a server's identity and the store, any number of servers at once. Conformance: `etl_core::accounts_conformance!`.
///
/// - Every operation is one transaction: of operations that race each sees all of another or nothing of it.
/// - Every answer that is to be expected is a value. Errors are of the store itself.
/// - «Now» is the store's own clock.
/// - At least one active admin stays once there is one: the last MUST NOT be removed, disabled or demoted, whoever races.
/// - Whatever raises a user's epoch (another password or role, being made active or inactive, the end of all sessions) MUST end
///   every session of the user and every one-time token with it, so that no sign-in that was begun before is gone on with.
/// - Of a session at most one token is good. A token that is exchanged a second time MUST end its session, save as
///   [`TokenRotation::Repeated`].
#[async_trait]
pub trait Accounts: Send + Sync + fmt::Debug + 'static {
    /// Makes a user.
    ///
    /// # Errors
    /// `Illegal` for an id that another user has.
    async fn create_user(&self, create: CreateUser) -> Result<UserCreated>;

    /// A user by id.
    async fn user(&self, id: UserId) -> Result<Option<User>>;

    /// A user by address, whatever its capitals.
    async fn user_by_email(&self, email: &str) -> Result<Option<User>>;

    /// The users, by id and so by age. Pages as in [`Journal`](super::Journal).
    async fn users(&self, page: &PageRequest) -> Result<Page<User>>;

    /// Edits a user.
    async fn update_user(&self, update: UpdateUser) -> Result<UserWrite>;

    /// Removes a user with all that is theirs: sessions, keys, tokens. The answer holds the user as they were.
    async fn remove_user(&self, remove: RemoveUser) -> Result<UserWrite>;

    /// Ends every session of a user and raises the epoch. Whether there is such a user.
    async fn end_sessions(&self, end: EndSessions) -> Result<bool>;

    /// Begins a sign-in with a password, before the password is looked at. It counts as failed until
    /// [`login_succeeded`](Self::login_succeeded): guesses made at the same time are all counted before one is looked at. While
    /// the user has to wait it is refused and not counted. The wait is [`login_delay`](crate::model::login_delay).
    async fn admit_login(&self, login: AdmitLogin) -> Result<LoginGate>;

    /// A sign-in succeeded: failures are forgotten, and the time is noted. Whether there is such a user.
    async fn login_succeeded(&self, login: LoginSucceeded) -> Result<bool>;

    /// Changes a user's second factor. Whether it was changed: each [`MfaChange`] says when it is refused.
    async fn change_mfa(&self, change: ChangeMfa) -> Result<bool>;

    /// Begins a session with its first refresh token: 7 days, or 24 hours without use. `None` if there is no such user, or an
    /// inactive one, or one whose epoch is another than the one that was looked at.
    ///
    /// # Errors
    /// `Illegal` for an id or a token that is there already.
    async fn open_session(&self, open: OpenSession) -> Result<Option<Session>>;

    /// Exchanges a session's token for the next one.
    ///
    /// # Errors
    /// `Illegal` if the next one is a token already, save as [`TokenRotation::Repeated`].
    async fn rotate_token(&self, rotate: RotateToken) -> Result<TokenRotation>;

    /// Ends one session of a user. Whether it was live.
    async fn revoke_session(&self, revoke: RevokeSession) -> Result<bool>;

    /// The sessions of a user that are not forgotten yet, the newest first.
    async fn sessions(&self, user: UserId) -> Result<Vec<Session>>;

    /// Makes an API key. `None` if there is no such user.
    ///
    /// # Errors
    /// `Illegal` for an id or a hash that is there already.
    async fn create_api_key(&self, create: CreateApiKey) -> Result<Option<ApiKey>>;

    /// Looks up the key that somebody signs in with, and its user, active or not. `None` if there is none or it has expired. That
    /// it was used is noted at most once a minute.
    async fn use_api_key(&self, hash: TokenHash) -> Result<Option<(ApiKey, User)>>;

    /// The keys of a user, the newest first.
    async fn api_keys(&self, user: UserId) -> Result<Vec<ApiKey>>;

    /// Removes a key of a user. Whether it was there.
    async fn revoke_api_key(&self, revoke: RevokeApiKey) -> Result<bool>;

    /// Keeps a one-time token. Whether it is kept: not if its user is not there.
    ///
    /// # Errors
    /// `Illegal` for a hash that is there already, and for more data than [`MAX_TOKEN_DATA`].
    async fn put_token(&self, put: PutToken) -> Result<bool>;

    /// A one-time token that is still good. It stays.
    async fn token(&self, hash: TokenHash, purpose: Purpose) -> Result<Option<OneTimeToken>>;

    /// Takes a one-time token that is still good: of all who race for it one gets it.
    async fn take_token(&self, take: TakeToken) -> Result<Option<OneTimeToken>>;

    /// Counts a failed try, and ends the token when none is left. How many are left; `None` if it is not good any more.
    async fn fail_token(&self, fail: FailToken) -> Result<Option<u32>>;

    /// Forgets one-time tokens that have expired, and sessions that ended longer ago than this. Answers how many.
    async fn forget_ended(&self, forget: ForgetEnded) -> Result<u64>;
}

/// What a server keeps: what runs its jobs, who may sign in, and who did what. Implemented for whatever has all the roles; never by
/// hand.
pub trait ServerStore: super::Store + Accounts + super::AuditLog + super::LetterStore {}

impl<T> ServerStore for T where
    T: super::Store + Accounts + super::AuditLog + super::LetterStore + ?Sized
{
}

/// Who is to be a user.
#[derive(Clone, PartialEq, Eq)]
pub struct CreateUser {
    /// A new id, a UUIDv7.
    pub id: UserId,
    /// The address.
    pub email: String,
    /// The password's hash as PHC text.
    pub password_hash: String,
    /// What the user may do.
    pub role: Role,
    /// Whether others may be there.
    pub others: Others,
}

/// Whether a new user may find others there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They may.
    Allowed,
    /// It has to be the first of all.
    Refused,
}

/// Of the hash it shows nothing.
impl fmt::Debug for CreateUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateUser")
            .field("id", &self.id)
            .field("email", &self.email)
            .field("role", &self.role)
            .field("others", &self.others)
            .finish_non_exhaustive()
    }
}

impl CreateUser {
    /// The user as they are made at this time.
    pub fn made(self, now: Timestamp) -> User {
        User {
            id: self.id,
            email: self.email,
            password_hash: self.password_hash,
            role: self.role,
            is_active: true,
            version: 1,
            epoch: 1,
            failed_logins: 0,
            locked_until: None,
            last_login_at: None,
            mfa: Mfa::default(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// What became of a new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserCreated {
    /// There is one.
    Created(Box<User>),
    /// Another user has the address.
    EmailTaken,
    /// It had to be the first of all, and is not.
    NotFirst,
}

/// An edit of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateUser {
    /// Who.
    pub id: UserId,
    /// The version that was looked at; `None` for whatever is there.
    pub expected_version: Option<u64>,
    /// What is to be different.
    pub edit: UserEdit,
}

/// A user who is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveUser {
    /// Who.
    pub id: UserId,
    /// The version that was looked at; `None` for whatever is there.
    pub expected_version: Option<u64>,
}

/// What became of an edit or a removal of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserWrite {
    /// It is true now.
    Written(Box<User>),
    /// Another version is there: look again.
    Stale {
        /// Which.
        version: u64,
    },
    /// There is no such user.
    Unknown,
    /// Another user has the address.
    EmailTaken,
    /// Nobody could administer any more.
    LastAdmin,
}

/// The end of all sessions of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndSessions {
    /// Whose.
    pub user: UserId,
}

/// The beginning of a sign-in with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmitLogin {
    /// Whose.
    pub user: UserId,
}

/// Whether a password may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginGate {
    /// It may, and counts as failed until it succeeds.
    Open,
    /// It may not yet.
    Locked {
        /// Not before.
        until: Timestamp,
        /// How long that is by the store's clock.
        wait: Duration,
    },
    /// There is no such user.
    Unknown,
}

impl LoginGate {
    /// The gate of what a user's own rule answers at this time.
    pub fn of(admitted: std::result::Result<(), Timestamp>, now: Timestamp) -> Self {
        match admitted {
            Ok(()) => Self::Open,
            Err(until) => Self::Locked {
                until,
                wait: until.since(now),
            },
        }
    }
}

/// A sign-in that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSucceeded {
    /// Whose.
    pub user: UserId,
}

/// A change of a user's second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeMfa {
    /// Whose.
    pub user: UserId,
    /// What is to be different.
    pub change: MfaChange,
}

/// A session to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// A new id, a UUIDv7.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// The user's epoch when it was found out that it is they who sign in.
    pub epoch: u64,
    /// The first refresh token.
    pub token: TokenHash,
    /// What the client looks like; only compared.
    pub client: String,
}

/// A refresh token to exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateToken {
    /// The token.
    pub old: TokenHash,
    /// The next one.
    pub new: TokenHash,
    /// What the client looks like; only compared.
    pub client: String,
}

/// What became of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRotation {
    /// The next token is good, and the old one is not.
    Rotated {
        /// Whose.
        user: UserId,
        /// Their epoch.
        epoch: u64,
        /// Of which session.
        session: SessionId,
    },
    /// The same client asked for the same exchange again within 10 s: the next token is good already.
    Repeated {
        /// Whose.
        user: UserId,
        /// Their epoch.
        epoch: u64,
        /// Of which session.
        session: SessionId,
    },
    /// The token was exchanged before: two have it, and the session has been ended.
    Reused {
        /// Whose.
        user: UserId,
        /// Of which session.
        session: SessionId,
    },
    /// The session has expired.
    Expired {
        /// Whose.
        user: UserId,
    },
    /// The session was ended before.
    Revoked {
        /// Whose.
        user: UserId,
    },
    /// Nobody knows the token, or it was forgotten.
    Unknown,
}

impl TokenRotation {
    /// What a session's own rule answers, with whose it is and their epoch.
    pub fn of(rotation: Rotation, user: UserId, epoch: u64, session: SessionId) -> Self {
        match rotation {
            Rotation::Rotated => Self::Rotated {
                user,
                epoch,
                session,
            },
            Rotation::Repeated => Self::Repeated {
                user,
                epoch,
                session,
            },
            Rotation::Reused => Self::Reused { user, session },
            Rotation::Expired => Self::Expired { user },
            Rotation::Revoked => Self::Revoked { user },
        }
    }
}

/// The end of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeSession {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub session: SessionId,
}

/// An API key to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateApiKey {
    /// A new id, a UUIDv7.
    pub id: ApiKeyId,
    /// Whose.
    pub user: UserId,
    /// What it is for.
    pub name: String,
    /// How it begins.
    pub prefix: String,
    /// The hash of all of it.
    pub hash: TokenHash,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// How long it is good; `None` for ever.
    pub ttl: Option<Duration>,
}

impl CreateApiKey {
    /// The key as it is made at this time.
    pub fn made(self, now: Timestamp) -> ApiKey {
        ApiKey {
            id: self.id,
            user_id: self.user,
            name: self.name,
            prefix: self.prefix,
            hash: self.hash,
            scopes: self.scopes,
            expires_at: self.ttl.map(|ttl| now + ttl),
            last_used_at: None,
            created_at: now,
        }
    }
}

/// An API key that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeApiKey {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub id: ApiKeyId,
}

/// A one-time token to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct PutToken {
    /// The token.
    pub hash: TokenHash,
    /// What it is for.
    pub purpose: Purpose,
    /// Whose, if it is a user's.
    pub user: Option<UserId>,
    /// What is to be found again with it, at most [`MAX_TOKEN_DATA`] bytes of JSON.
    pub data: Value,
    /// How long it is good.
    pub ttl: Duration,
    /// How often a try may fail, at least 1; the last one ends it.
    pub tries: u32,
}

impl PutToken {
    /// The token as it is kept from this time on; `None` if it carries too much.
    pub fn made(self, now: Timestamp) -> Option<OneTimeToken> {
        let is_small = self.data.to_string().len() <= MAX_TOKEN_DATA;
        is_small.then(|| OneTimeToken {
            hash: self.hash,
            purpose: self.purpose,
            user_id: self.user,
            data: self.data,
            tries_left: self.tries.max(1),
            expires_at: now + self.ttl,
        })
    }
}

/// A one-time token to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeToken {
    /// The token.
    pub hash: TokenHash,
    /// What it has to be for.
    pub purpose: Purpose,
}

/// A failed try at what a one-time token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailToken {
    /// The token.
    pub hash: TokenHash,
    /// What it has to be for.
    pub purpose: Purpose,
}

/// What has ended and is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetEnded {
    /// How long sessions are remembered after their end.
    pub sessions_after: Duration,
}
