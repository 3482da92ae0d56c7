//! Users: made, edited, removed, and their sign-ins counted.

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{
    AdmitLogin, ChangeMfa, CreateUser, EndSessions, LoginGate, LoginSucceeded, Others, RemoveUser,
    UpdateUser, UserCreated, UserWrite,
};
use etl_core::model::{Cursor, Page, PageRequest, Timestamp, User, UserId, email_key};
use uuid::Uuid;

use super::{Answered, Arg, SqlConn, each, row, rows};
use crate::fault::{Fault, Result};
use crate::rows::Columns;

/// A user by id.
pub async fn user<C: SqlConn>(conn: &mut C, id: UserId) -> Result<Option<User>> {
    let found = row(conn, C::ACCOUNTS.user, vec![Arg::id(id)]).await?;
    found.as_ref().map(rows::user).transpose()
}

/// A user by address.
pub async fn user_by_email<C: SqlConn>(conn: &mut C, email: &str) -> Result<Option<User>> {
    let key = Arg::Text(Some(email_key(email).into()));
    let found = row(conn, C::ACCOUNTS.user_by_email, vec![key]).await?;
    found.as_ref().map(rows::user).transpose()
}

/// A page of users, by id.
pub async fn users<C: SqlConn>(conn: &mut C, request: &PageRequest) -> Result<Page<User>> {
    let after = match &request.cursor {
        None => UserId(Uuid::nil()),
        Some(cursor) => cursor.0.parse().map_err(|_| {
            Fault::said(
                StoreErrorKind::NotFound,
                "the cursor is not one of this list",
            )
        })?,
    };
    let limit = request.limit.clamp(1, 500);
    let args = vec![Arg::id(after), Arg::Int(Some(limit as i64 + 1))];
    let found = conn.rows(C::ACCOUNTS.users, args).await?;
    let items = found.iter().take(limit).map(rows::user);
    let items = items.collect::<Result<Vec<_>>>()?;
    let last = items.last().filter(|_| found.len() > limit);
    let next_cursor = last.map(|last| Cursor(last.id.to_string()));
    Ok(Page { items, next_cursor })
}

/// A user whom nobody else changes up to the end of the transaction.
pub(super) async fn to_change<C: SqlConn>(conn: &mut C, id: UserId) -> Result<Option<User>> {
    let found = row(conn, C::ACCOUNTS.user_to_change, vec![Arg::id(id)]).await?;
    found.as_ref().map(rows::user).transpose()
}

async fn write<C: SqlConn>(conn: &mut C, user: &User) -> Result<()> {
    conn.write(C::ACCOUNTS.write_user, rows::of_user(user))
        .await?;
    Ok(())
}

/// Ends what was handed out to a user before.
async fn revoke_all<C: SqlConn>(conn: &mut C, user: UserId) -> Result<()> {
    let now = Arg::at(conn.now());
    conn.write(C::ACCOUNTS.revoke_sessions, vec![Arg::id(user), now])
        .await?;
    conn.write(C::ACCOUNTS.drop_tokens, vec![Arg::id(user)])
        .await?;
    Ok(())
}

/// Whether another user than this one has the address.
async fn email_is_taken<C: SqlConn>(conn: &mut C, email: &str, by: UserId) -> Result<bool> {
    let owner = user_by_email(conn, email).await?;
    Ok(owner.is_some_and(|owner| owner.id != by))
}

/// Whether nobody could administer any more once this user is none who can.
async fn is_last_admin<C: SqlConn>(conn: &mut C, user: &User) -> Result<bool> {
    if !user.is_active_admin() {
        return Ok(false);
    }
    let others = row(conn, C::ACCOUNTS.other_admins, vec![Arg::id(user.id)]).await?;
    others.map_or(Ok(true), |others| Ok(others.int(0)? == 0))
}

/// The refusal of a writer who looked at another version.
fn stale(user: &User, expected: Option<u64>) -> Option<UserWrite> {
    let version = user.version;
    expected
        .is_some_and(|expected| expected != version)
        .then_some(UserWrite::Stale { version })
}

/// Makes users.
pub async fn create_user<C: SqlConn>(
    conn: &mut C,
    inputs: &[&CreateUser],
) -> Answered<UserCreated> {
    each!(conn, inputs, create)
}

async fn create<C: SqlConn>(conn: &mut C, create: &CreateUser) -> Result<UserCreated> {
    conn.rows(C::ACCOUNTS.lock_users, Vec::new()).await?;
    let is_first_only = create.others == Others::Refused;
    if is_first_only && row(conn, C::ACCOUNTS.any_user, Vec::new()).await?.is_some() {
        return Ok(UserCreated::NotFirst);
    }
    if user(conn, create.id).await?.is_some() {
        return Err(Fault::illegal("another user has the id"));
    }
    if email_is_taken(conn, &create.email, create.id).await? {
        return Ok(UserCreated::EmailTaken);
    }
    let user = create.clone().made(conn.now());
    conn.write(C::ACCOUNTS.insert_user, rows::of_user(&user))
        .await?;
    Ok(UserCreated::Created(user.into()))
}

/// Edits users.
pub async fn update_user<C: SqlConn>(conn: &mut C, inputs: &[&UpdateUser]) -> Answered<UserWrite> {
    each!(conn, inputs, update)
}

async fn update<C: SqlConn>(conn: &mut C, update: &UpdateUser) -> Result<UserWrite> {
    conn.rows(C::ACCOUNTS.lock_users, Vec::new()).await?;
    let Some(before) = to_change(conn, update.id).await? else {
        return Ok(UserWrite::Unknown);
    };
    if let Some(stale) = stale(&before, update.expected_version) {
        return Ok(stale);
    }
    let after = before.edited(&update.edit, conn.now());
    if email_is_taken(conn, &after.email, after.id).await? {
        return Ok(UserWrite::EmailTaken);
    }
    if !after.is_active_admin() && is_last_admin(conn, &before).await? {
        return Ok(UserWrite::LastAdmin);
    }
    if after.epoch != before.epoch {
        revoke_all(conn, after.id).await?;
    }
    write(conn, &after).await?;
    Ok(UserWrite::Written(after.into()))
}

/// Removes users.
pub async fn remove_user<C: SqlConn>(conn: &mut C, inputs: &[&RemoveUser]) -> Answered<UserWrite> {
    each!(conn, inputs, remove)
}

async fn remove<C: SqlConn>(conn: &mut C, remove: &RemoveUser) -> Result<UserWrite> {
    conn.rows(C::ACCOUNTS.lock_users, Vec::new()).await?;
    let Some(user) = to_change(conn, remove.id).await? else {
        return Ok(UserWrite::Unknown);
    };
    if let Some(stale) = stale(&user, remove.expected_version) {
        return Ok(stale);
    }
    if is_last_admin(conn, &user).await? {
        return Ok(UserWrite::LastAdmin);
    }
    conn.write(C::ACCOUNTS.remove_user, vec![Arg::id(user.id)])
        .await?;
    Ok(UserWrite::Written(user.into()))
}

/// Ends all sessions of users.
pub async fn end_sessions<C: SqlConn>(conn: &mut C, inputs: &[&EndSessions]) -> Answered<bool> {
    each!(conn, inputs, end)
}

async fn end<C: SqlConn>(conn: &mut C, end: &EndSessions) -> Result<bool> {
    let Some(mut user) = to_change(conn, end.user).await? else {
        return Ok(false);
    };
    user.epoch += 1;
    write(conn, &user).await?;
    revoke_all(conn, user.id).await?;
    Ok(true)
}

/// Lets the model change a user, and writes what it made of them. `None` if there is none.
async fn change<C: SqlConn, T>(
    conn: &mut C,
    id: UserId,
    change: impl FnOnce(&mut User, Timestamp) -> T,
) -> Result<Option<T>> {
    let Some(before) = to_change(conn, id).await? else {
        return Ok(None);
    };
    let mut after = before.clone();
    let answer = change(&mut after, conn.now());
    if after != before {
        write(conn, &after).await?;
    }
    Ok(Some(answer))
}

/// Begins sign-ins.
pub async fn admit_login<C: SqlConn>(conn: &mut C, inputs: &[&AdmitLogin]) -> Answered<LoginGate> {
    each!(conn, inputs, admit)
}

async fn admit<C: SqlConn>(conn: &mut C, login: &AdmitLogin) -> Result<LoginGate> {
    let gate = change(conn, login.user, |user, now| {
        LoginGate::of(user.admit(now), now)
    });
    Ok(gate.await?.unwrap_or(LoginGate::Unknown))
}

/// Notes sign-ins that succeeded.
pub async fn login_succeeded<C: SqlConn>(
    conn: &mut C,
    inputs: &[&LoginSucceeded],
) -> Answered<bool> {
    each!(conn, inputs, succeed)
}

async fn succeed<C: SqlConn>(conn: &mut C, login: &LoginSucceeded) -> Result<bool> {
    let succeeded = change(conn, login.user, User::signed_in).await?;
    Ok(succeeded.is_some())
}

/// Changes second factors.
pub async fn change_mfa<C: SqlConn>(conn: &mut C, inputs: &[&ChangeMfa]) -> Answered<bool> {
    each!(conn, inputs, change_factor)
}

async fn change_factor<C: SqlConn>(conn: &mut C, wish: &ChangeMfa) -> Result<bool> {
    let changed = change(conn, wish.user, |user, now| {
        user.change_mfa(&wish.change, now)
    });
    Ok(changed.await?.unwrap_or(false))
}
