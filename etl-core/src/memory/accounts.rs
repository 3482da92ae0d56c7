//! Users, and what they sign in with.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use async_trait::async_trait;

use super::{MemoryStore, page_limit};
use crate::contract::store::{
    Accounts, AdmitLogin, ChangeMfa, CreateApiKey, CreateUser, EndSessions, FailToken, ForgetEnded,
    LoginGate, LoginSucceeded, OpenSession, Others, PutToken, RemoveUser, Result, RevokeApiKey,
    RevokeSession, RotateToken, StoreError, StoreErrorKind, TakeToken, TokenRotation, UpdateUser,
    UserCreated, UserWrite,
};
use crate::model::{
    ApiKey, ApiKeyId, Cursor, OneTimeToken, Page, PageRequest, Purpose, Rotation, Session,
    SessionId, Timestamp, TokenHash, User, UserId, email_key,
};

/// The users of a store, and what is theirs.
#[derive(Debug, Default)]
pub(super) struct AccountRows {
    users: BTreeMap<UserId, User>,
    emails: HashMap<String, UserId>,
    sessions: BTreeMap<SessionId, Session>,
    refresh: HashMap<TokenHash, Refresh>,
    keys: BTreeMap<ApiKeyId, ApiKey>,
    one_time: HashMap<TokenHash, OneTimeToken>,
}

/// A refresh token.
#[derive(Debug)]
struct Refresh {
    session: SessionId,
    /// When it was exchanged, and for which one.
    exchanged: Option<(Timestamp, TokenHash)>,
}

impl AccountRows {
    fn email_is_taken(&self, email: &str, by_other_than: UserId) -> bool {
        let owner = self.emails.get(&email_key(email));
        owner.is_some_and(|owner| *owner != by_other_than)
    }

    /// Whether nobody could administer any more once this user is none who can.
    fn is_last_admin(&self, user: &User) -> bool {
        user.is_active_admin()
            && self
                .users
                .values()
                .filter(|user| user.is_active_admin())
                .count()
                == 1
    }

    /// Ends what was handed out to a user before.
    fn revoke_all(&mut self, user: UserId, now: Timestamp) {
        self.one_time.retain(|_, token| token.user_id != Some(user));
        let of_user = |session: &&mut Session| session.user_id == user;
        for session in self.sessions.values_mut().filter(of_user) {
            session.revoke(now);
        }
    }

    fn create_user(&mut self, create: CreateUser, now: Timestamp) -> Result<UserCreated> {
        if create.others == Others::Refused && !self.users.is_empty() {
            return Ok(UserCreated::NotFirst);
        }
        if self.users.contains_key(&create.id) {
            return Err(illegal("create_user"));
        }
        if self.email_is_taken(&create.email, create.id) {
            return Ok(UserCreated::EmailTaken);
        }
        let user = create.made(now);
        self.emails.insert(email_key(&user.email), user.id);
        self.users.insert(user.id, user.clone());
        Ok(UserCreated::Created(user.into()))
    }

    fn update_user(&mut self, update: &UpdateUser, now: Timestamp) -> UserWrite {
        let Some(before) = self.users.get(&update.id) else {
            return UserWrite::Unknown;
        };
        if let Some(stale) = stale(before, update.expected_version) {
            return stale;
        }
        let after = before.edited(&update.edit, now);
        if self.email_is_taken(&after.email, after.id) {
            return UserWrite::EmailTaken;
        }
        if !after.is_active_admin() && self.is_last_admin(before) {
            return UserWrite::LastAdmin;
        }
        if after.epoch != before.epoch {
            self.revoke_all(after.id, now);
        }
        if let Some(before) = self.users.insert(after.id, after.clone()) {
            self.emails.remove(&email_key(&before.email));
        }
        self.emails.insert(email_key(&after.email), after.id);
        UserWrite::Written(after.into())
    }

    fn remove_user(&mut self, remove: &RemoveUser) -> UserWrite {
        let Some(user) = self.users.get(&remove.id) else {
            return UserWrite::Unknown;
        };
        if let Some(stale) = stale(user, remove.expected_version) {
            return stale;
        }
        if self.is_last_admin(user) {
            return UserWrite::LastAdmin;
        }
        let user = user.clone();
        self.users.remove(&user.id);
        self.emails.remove(&email_key(&user.email));
        self.sessions
            .retain(|_, session| session.user_id != user.id);
        self.forget_refresh();
        self.keys.retain(|_, key| key.user_id != user.id);
        self.one_time
            .retain(|_, token| token.user_id != Some(user.id));
        UserWrite::Written(user.into())
    }

    /// Tokens go with their sessions.
    fn forget_refresh(&mut self) {
        let sessions = &self.sessions;
        self.refresh
            .retain(|_, token| sessions.contains_key(&token.session));
    }

    fn open_session(&mut self, open: OpenSession, now: Timestamp) -> Result<Option<Session>> {
        let user = self.users.get(&open.user);
        if !user.is_some_and(|user| user.may_open(open.epoch)) {
            return Ok(None);
        }
        if self.sessions.contains_key(&open.id) || self.refresh.contains_key(&open.token) {
            return Err(illegal("open_session"));
        }
        let session = Session::begin(open.id, open.user, open.client, now);
        self.sessions.insert(session.id, session.clone());
        let refresh = Refresh {
            session: session.id,
            exchanged: None,
        };
        self.refresh.insert(open.token, refresh);
        Ok(Some(session))
    }

    fn rotate(&mut self, rotate: &RotateToken, now: Timestamp) -> Result<TokenRotation> {
        let new_is_known = self.refresh.get(&rotate.new);
        let new_is_live = new_is_known.is_some_and(|token| token.exchanged.is_none());
        let new_is_known = new_is_known.is_some();
        let Some(old) = self.refresh.get_mut(&rotate.old) else {
            return Ok(TokenRotation::Unknown);
        };
        let Some(session) = self.sessions.get_mut(&old.session) else {
            return Ok(TokenRotation::Unknown);
        };
        let (user, id) = (session.user_id, session.id);
        let Some(epoch) = self.users.get(&user).map(|user| user.epoch) else {
            return Ok(TokenRotation::Unknown);
        };
        let mut after = session.clone();
        let rotation = after.rotate(old.exchanged, rotate.new, new_is_live, &rotate.client, now);
        if rotation == Rotation::Rotated {
            if new_is_known {
                return Err(illegal("rotate_token"));
            }
            old.exchanged = Some((now, rotate.new));
            let next = Refresh {
                session: id,
                exchanged: None,
            };
            self.refresh.insert(rotate.new, next);
        }
        *session = after;
        Ok(TokenRotation::of(rotation, user, epoch, id))
    }

    fn create_key(&mut self, create: CreateApiKey, now: Timestamp) -> Result<Option<ApiKey>> {
        if !self.users.contains_key(&create.user) {
            return Ok(None);
        }
        let is_known = |key: &ApiKey| key.id == create.id || key.hash == create.hash;
        if self.keys.values().any(is_known) {
            return Err(illegal("create_api_key"));
        }
        let key = create.made(now);
        self.keys.insert(key.id, key.clone());
        Ok(Some(key))
    }

    fn put_token(&mut self, put: PutToken, now: Timestamp) -> Result<bool> {
        if put.user.is_some_and(|user| !self.users.contains_key(&user)) {
            return Ok(false);
        }
        let token = put.made(now).ok_or_else(|| illegal("put_token"))?;
        if self.one_time.contains_key(&token.hash) {
            return Err(illegal("put_token"));
        }
        self.one_time.insert(token.hash, token);
        Ok(true)
    }

    fn good_token(
        &mut self,
        hash: TokenHash,
        purpose: Purpose,
        now: Timestamp,
    ) -> Option<&mut OneTimeToken> {
        let token = self.one_time.get_mut(&hash)?;
        token.is_good(purpose, now).then_some(token)
    }
}

fn illegal(op: &'static str) -> StoreError {
    StoreError::new(op, StoreErrorKind::Illegal)
}

/// The refusal of a writer who looked at another version.
fn stale(user: &User, expected: Option<u64>) -> Option<UserWrite> {
    let version = user.version;
    expected
        .is_some_and(|expected| expected != version)
        .then_some(UserWrite::Stale { version })
}

#[async_trait]
impl Accounts for MemoryStore {
    async fn create_user(&self, create: CreateUser) -> Result<UserCreated> {
        self.change(create, |state, create, now| {
            state.accounts.create_user(create, now)
        })
    }

    async fn user(&self, id: UserId) -> Result<Option<User>> {
        let (state, _) = self.lock();
        Ok(state.accounts.users.get(&id).cloned())
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<User>> {
        let (state, _) = self.lock();
        let id = state.accounts.emails.get(&email_key(email));
        Ok(id.and_then(|id| state.accounts.users.get(id)).cloned())
    }

    async fn users(&self, page: &PageRequest) -> Result<Page<User>> {
        let after: Bound<UserId> = match &page.cursor {
            None => Bound::Unbounded,
            Some(cursor) => Bound::Excluded(
                cursor
                    .0
                    .parse()
                    .map_err(|_| StoreError::new("users", StoreErrorKind::NotFound))?,
            ),
        };
        let (state, _) = self.lock();
        let limit = page_limit(page);
        let rest = state.accounts.users.range((after, Bound::Unbounded));
        let mut items: Vec<_> = rest.map(|(_, user)| user.clone()).take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more);
        let next_cursor = last.map(|last| Cursor(last.id.to_string()));
        Ok(Page { items, next_cursor })
    }

    async fn update_user(&self, update: UpdateUser) -> Result<UserWrite> {
        self.change(update, |state, update, now| {
            Ok(state.accounts.update_user(&update, now))
        })
    }

    async fn remove_user(&self, remove: RemoveUser) -> Result<UserWrite> {
        self.change(remove, |state, remove, _| {
            Ok(state.accounts.remove_user(&remove))
        })
    }

    async fn end_sessions(&self, end: EndSessions) -> Result<bool> {
        self.change(end, |state, end, now| {
            let Some(user) = state.accounts.users.get_mut(&end.user) else {
                return Ok(false);
            };
            user.epoch += 1;
            state.accounts.revoke_all(end.user, now);
            Ok(true)
        })
    }

    async fn admit_login(&self, login: AdmitLogin) -> Result<LoginGate> {
        let (mut state, now) = self.lock();
        let user = state.accounts.users.get_mut(&login.user);
        Ok(user.map_or(LoginGate::Unknown, |user| {
            LoginGate::of(user.admit(now), now)
        }))
    }

    async fn login_succeeded(&self, login: LoginSucceeded) -> Result<bool> {
        let (mut state, now) = self.lock();
        let user = state.accounts.users.get_mut(&login.user);
        Ok(user.map(|user| user.signed_in(now)).is_some())
    }

    async fn change_mfa(&self, change: ChangeMfa) -> Result<bool> {
        self.change(change, |state, change, now| {
            let user = state.accounts.users.get_mut(&change.user);
            Ok(user.is_some_and(|user| user.change_mfa(&change.change, now)))
        })
    }

    async fn open_session(&self, open: OpenSession) -> Result<Option<Session>> {
        self.change(open, |state, open, now| {
            state.accounts.open_session(open, now)
        })
    }

    async fn rotate_token(&self, rotate: RotateToken) -> Result<TokenRotation> {
        let (mut state, now) = self.lock();
        state.accounts.rotate(&rotate, now)
    }

    async fn revoke_session(&self, revoke: RevokeSession) -> Result<bool> {
        self.change(revoke, |state, revoke, now| {
            let session = state.accounts.sessions.get_mut(&revoke.session);
            let session = session.filter(|session| session.user_id == revoke.user);
            Ok(session.is_some_and(|session| session.end(now)))
        })
    }

    async fn sessions(&self, user: UserId) -> Result<Vec<Session>> {
        let (state, _) = self.lock();
        let newest_first = state.accounts.sessions.values().rev();
        Ok(newest_first
            .filter(|session| session.user_id == user)
            .cloned()
            .collect())
    }

    async fn create_api_key(&self, create: CreateApiKey) -> Result<Option<ApiKey>> {
        self.change(create, |state, create, now| {
            state.accounts.create_key(create, now)
        })
    }

    async fn use_api_key(&self, hash: TokenHash) -> Result<Option<(ApiKey, User)>> {
        let (mut state, now) = self.lock();
        let accounts = &mut state.accounts;
        let mut keys = accounts.keys.values_mut();
        let Some(key) = keys.find(|key| key.hash == hash && key.is_good(now)) else {
            return Ok(None);
        };
        let Some(user) = accounts.users.get(&key.user_id) else {
            return Ok(None);
        };
        key.note_use(now);
        Ok(Some((key.clone(), user.clone())))
    }

    async fn api_keys(&self, user: UserId) -> Result<Vec<ApiKey>> {
        let (state, _) = self.lock();
        let newest_first = state.accounts.keys.values().rev();
        Ok(newest_first
            .filter(|key| key.user_id == user)
            .cloned()
            .collect())
    }

    async fn revoke_api_key(&self, revoke: RevokeApiKey) -> Result<bool> {
        self.change(revoke, |state, revoke, _| {
            let keys = &mut state.accounts.keys;
            let key = keys.get(&revoke.id);
            let is_theirs = key.is_some_and(|key| key.user_id == revoke.user);
            Ok(is_theirs && keys.remove(&revoke.id).is_some())
        })
    }

    async fn put_token(&self, put: PutToken) -> Result<bool> {
        let (mut state, now) = self.lock();
        state.accounts.put_token(put, now)
    }

    async fn token(&self, hash: TokenHash, purpose: Purpose) -> Result<Option<OneTimeToken>> {
        let (mut state, now) = self.lock();
        Ok(state.accounts.good_token(hash, purpose, now).cloned())
    }

    async fn take_token(&self, take: TakeToken) -> Result<Option<OneTimeToken>> {
        let (mut state, now) = self.lock();
        let token = state
            .accounts
            .good_token(take.hash, take.purpose, now)
            .cloned();
        if token.is_some() {
            state.accounts.one_time.remove(&take.hash);
        }
        Ok(token)
    }

    async fn fail_token(&self, fail: FailToken) -> Result<Option<u32>> {
        let (mut state, now) = self.lock();
        let Some(token) = state.accounts.good_token(fail.hash, fail.purpose, now) else {
            return Ok(None);
        };
        token.tries_left = token.tries_left.saturating_sub(1);
        let left = token.tries_left;
        if left == 0 {
            state.accounts.one_time.remove(&fail.hash);
        }
        Ok(Some(left))
    }

    async fn forget_ended(&self, forget: ForgetEnded) -> Result<u64> {
        let (mut state, now) = self.lock();
        let accounts = &mut state.accounts;
        let before = accounts.one_time.len() + accounts.sessions.len();
        accounts.one_time.retain(|_, token| now < token.expires_at);
        let until = now - forget.sessions_after;
        accounts
            .sessions
            .retain(|_, session| until < session.ends_at());
        accounts.forget_refresh();
        let after = accounts.one_time.len() + accounts.sessions.len();
        Ok((before - after) as u64)
    }
}
