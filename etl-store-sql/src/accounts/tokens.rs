//! API keys and one-time tokens.

use etl_core::contract::store::{
    CreateApiKey, FailToken, ForgetEnded, PutToken, RevokeApiKey, TakeToken,
};
use etl_core::model::{ApiKey, ApiKeyId, OneTimeToken, Purpose, TokenHash, User, UserId};

use super::users::user;
use super::{Answered, Arg, SqlConn, each, row, rows};
use crate::fault::{Fault, Result};
use crate::rows::json;

/// The keys of a user, the newest first.
pub async fn api_keys<C: SqlConn>(conn: &mut C, user: UserId) -> Result<Vec<ApiKey>> {
    let found = conn.rows(C::ACCOUNTS.keys, vec![Arg::id(user)]).await?;
    found.iter().map(rows::key).collect()
}

/// The key with this hash that is good now, its use noted in it if it is to be noted, and its user.
pub async fn api_key<C: SqlConn>(
    conn: &mut C,
    hash: TokenHash,
) -> Result<Option<(ApiKey, bool, User)>> {
    let found = row(conn, C::ACCOUNTS.key, vec![Arg::bytes(&hash.0)]).await?;
    let key = found.as_ref().map(rows::key).transpose()?;
    let now = conn.now();
    let Some(mut key) = key.filter(|key| key.is_good(now)) else {
        return Ok(None);
    };
    let user = user(conn, key.user_id).await?;
    let is_noted = key.note_use(now);
    Ok(user.map(|user| (key, is_noted, user)))
}

/// Notes uses of keys, and answers the keys with their users.
pub async fn use_api_key<C: SqlConn>(
    conn: &mut C,
    inputs: &[&TokenHash],
) -> Answered<Option<(ApiKey, User)>> {
    each!(conn, inputs, use_key)
}

async fn use_key<C: SqlConn>(conn: &mut C, hash: &TokenHash) -> Result<Option<(ApiKey, User)>> {
    let Some((key, is_noted, user)) = api_key(conn, *hash).await? else {
        return Ok(None);
    };
    if is_noted {
        let args = vec![Arg::id(key.id), Arg::at_if(key.last_used_at)];
        conn.write(C::ACCOUNTS.note_key, args).await?;
    }
    Ok(Some((key, user)))
}

/// Makes API keys.
pub async fn create_api_key<C: SqlConn>(
    conn: &mut C,
    inputs: &[&CreateApiKey],
) -> Answered<Option<ApiKey>> {
    each!(conn, inputs, create_key)
}

async fn create_key<C: SqlConn>(conn: &mut C, create: &CreateApiKey) -> Result<Option<ApiKey>> {
    if user(conn, create.user).await?.is_none() {
        return Ok(None);
    }
    let same_hash = row(conn, C::ACCOUNTS.key, vec![Arg::bytes(&create.hash.0)]).await?;
    if same_hash.is_some() || has_key(conn, create.id).await? {
        return Err(Fault::illegal("the key is there already"));
    }
    let key = create.clone().made(conn.now());
    let args = vec![
        Arg::id(key.id),
        Arg::id(key.user_id),
        Arg::text(&key.name),
        Arg::text(&key.prefix),
        Arg::bytes(&key.hash.0),
        Arg::Text(Some(json(&key.scopes)?.into())),
        Arg::at_if(key.expires_at),
        Arg::at(key.created_at),
    ];
    conn.write(C::ACCOUNTS.insert_key, args).await?;
    Ok(Some(key))
}

async fn has_key<C: SqlConn>(conn: &mut C, id: ApiKeyId) -> Result<bool> {
    let found = row(conn, C::ACCOUNTS.key_by_id, vec![Arg::id(id)]).await?;
    Ok(found.is_some())
}

/// Removes API keys.
pub async fn revoke_api_key<C: SqlConn>(conn: &mut C, inputs: &[&RevokeApiKey]) -> Answered<bool> {
    each!(conn, inputs, revoke_key)
}

async fn revoke_key<C: SqlConn>(conn: &mut C, revoke: &RevokeApiKey) -> Result<bool> {
    let args = vec![Arg::id(revoke.id), Arg::id(revoke.user)];
    Ok(conn.write(C::ACCOUNTS.remove_key, args).await? > 0)
}

/// A one-time token that is still good.
pub async fn token<C: SqlConn>(
    conn: &mut C,
    hash: TokenHash,
    purpose: Purpose,
) -> Result<Option<OneTimeToken>> {
    good_token(conn, C::ACCOUNTS.token, hash, purpose).await
}

async fn good_token<C: SqlConn>(
    conn: &mut C,
    sql: &'static str,
    hash: TokenHash,
    purpose: Purpose,
) -> Result<Option<OneTimeToken>> {
    let found = row(conn, sql, vec![Arg::bytes(&hash.0)]).await?;
    let token = found.as_ref().map(rows::token).transpose()?;
    let now = conn.now();
    Ok(token.filter(|token| token.is_good(purpose, now)))
}

/// Keeps one-time tokens.
pub async fn put_token<C: SqlConn>(conn: &mut C, inputs: &[&PutToken]) -> Answered<bool> {
    each!(conn, inputs, put)
}

async fn put<C: SqlConn>(conn: &mut C, put: &PutToken) -> Result<bool> {
    if let Some(id) = put.user
        && user(conn, id).await?.is_none()
    {
        return Ok(false);
    }
    let token = put.clone().made(conn.now());
    let token = token.ok_or_else(|| Fault::illegal("the token carries too much"))?;
    let same = row(conn, C::ACCOUNTS.token, vec![Arg::bytes(&token.hash.0)]).await?;
    if same.is_some() {
        return Err(Fault::illegal("the token is there already"));
    }
    let args = vec![
        Arg::bytes(&token.hash.0),
        Arg::text(token.purpose.as_str()),
        Arg::Text(token.user_id.map(|id| id.to_string().into())),
        Arg::Text(Some(json(&token.data)?.into())),
        Arg::Int(Some(token.tries_left.into())),
        Arg::at(token.expires_at),
    ];
    conn.write(C::ACCOUNTS.insert_token, args).await?;
    Ok(true)
}

/// Takes one-time tokens.
pub async fn take_token<C: SqlConn>(
    conn: &mut C,
    inputs: &[&TakeToken],
) -> Answered<Option<OneTimeToken>> {
    each!(conn, inputs, take)
}

async fn take<C: SqlConn>(conn: &mut C, take: &TakeToken) -> Result<Option<OneTimeToken>> {
    let args = vec![
        Arg::bytes(&take.hash.0),
        Arg::text(take.purpose.as_str()),
        Arg::at(conn.now()),
    ];
    let taken = row(conn, C::ACCOUNTS.take_token, args).await?;
    taken.as_ref().map(rows::token).transpose()
}

/// Counts failed tries at one-time tokens.
pub async fn fail_token<C: SqlConn>(conn: &mut C, inputs: &[&FailToken]) -> Answered<Option<u32>> {
    each!(conn, inputs, fail)
}

async fn fail<C: SqlConn>(conn: &mut C, fail: &FailToken) -> Result<Option<u32>> {
    let sql = C::ACCOUNTS.token_to_change;
    let Some(token) = good_token(conn, sql, fail.hash, fail.purpose).await? else {
        return Ok(None);
    };
    let left = token.tries_left.saturating_sub(1);
    if left == 0 {
        conn.write(C::ACCOUNTS.remove_token, vec![Arg::bytes(&fail.hash.0)])
            .await?;
    } else {
        let args = vec![Arg::bytes(&fail.hash.0), Arg::Int(Some(left.into()))];
        conn.write(C::ACCOUNTS.write_token, args).await?;
    }
    Ok(Some(left))
}

/// Forgets what is over.
pub async fn forget_ended<C: SqlConn>(conn: &mut C, inputs: &[&ForgetEnded]) -> Answered<u64> {
    each!(conn, inputs, forget)
}

async fn forget<C: SqlConn>(conn: &mut C, forget: &ForgetEnded) -> Result<u64> {
    let now = conn.now();
    let tokens = conn
        .write(C::ACCOUNTS.forget_tokens, vec![Arg::at(now)])
        .await?;
    let until = now - forget.sessions_after;
    let sessions = conn
        .write(C::ACCOUNTS.forget_sessions, vec![Arg::at(until)])
        .await?;
    Ok(tokens + sessions)
}
