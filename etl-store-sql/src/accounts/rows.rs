//! Rows of accounts as the model's values, and back. Columns are those of [`accounts_sql!`](crate::accounts_sql).

use std::borrow::Cow;

use etl_core::model::{ApiKey, Mfa, OneTimeToken, Session, Timestamp, TokenHash, User, email_key};

use crate::conn::Arg;
use crate::fault::{Fault, Result};
use crate::rows::{Columns, count};

/// The bytes of a hash.
const HASH: usize = 32;

pub(super) fn user(row: &impl Columns) -> Result<User> {
    let codes = row.bytes(13)?.chunks(HASH);
    Ok(User {
        id: row.parsed(0)?,
        email: row.str(1)?.into(),
        password_hash: row.str(2)?.into(),
        role: row.parsed(3)?,
        is_active: row.int(4)? != 0,
        version: row.number(5)?,
        epoch: row.number(6)?,
        failed_logins: row.number(7)?,
        locked_until: row.opt_parsed(8)?,
        last_login_at: row.opt_parsed(9)?,
        mfa: Mfa {
            sealed: row.opt_bytes(10)?.map(<[u8]>::to_vec),
            confirmed_at: row.opt_parsed(11)?,
            last_step: row.opt_number(12)?,
            recovery_codes: codes.map(hash).collect::<Result<_>>()?,
        },
        created_at: row.parsed(14)?,
        updated_at: row.parsed(15)?,
    })
}

/// All of a user, as `insert_user` and `write_user` take it.
pub(super) fn of_user(user: &User) -> Vec<Arg<'_>> {
    let codes: Vec<u8> = user
        .mfa
        .recovery_codes
        .iter()
        .flat_map(|code| code.0)
        .collect();
    vec![
        Arg::id(user.id),
        Arg::text(&user.email),
        Arg::Text(Some(email_key(&user.email).into())),
        Arg::text(&user.password_hash),
        Arg::text(user.role.as_str()),
        Arg::Int(Some(user.is_active.into())),
        Arg::Int(Some(count(user.version))),
        Arg::Int(Some(count(user.epoch))),
        Arg::Int(Some(user.failed_logins.into())),
        Arg::at_if(user.locked_until),
        Arg::at_if(user.last_login_at),
        Arg::Bytes(user.mfa.sealed.as_deref().map(Cow::Borrowed)),
        Arg::at_if(user.mfa.confirmed_at),
        Arg::Int(user.mfa.last_step.map(count)),
        Arg::Bytes(Some(codes.into())),
        Arg::at(user.created_at),
        Arg::at(user.updated_at),
    ]
}

pub(super) fn session(row: &impl Columns) -> Result<Session> {
    Ok(Session {
        id: row.parsed(0)?,
        user_id: row.parsed(1)?,
        client: row.str(2)?.into(),
        created_at: row.parsed(3)?,
        last_used_at: row.parsed(4)?,
        expires_at: row.parsed(5)?,
        idle_at: row.parsed(6)?,
        revoked_at: row.opt_parsed(7)?,
    })
}

/// When a refresh token was exchanged, and for which one.
pub(super) fn exchanged(row: &impl Columns) -> Result<Option<(Timestamp, TokenHash)>> {
    match (row.opt_parsed(1)?, row.opt_bytes(2)?) {
        (Some(at), Some(successor)) => Ok(Some((at, hash(successor)?))),
        _ => Ok(None),
    }
}

pub(super) fn key(row: &impl Columns) -> Result<ApiKey> {
    Ok(ApiKey {
        id: row.parsed(0)?,
        user_id: row.parsed(1)?,
        name: row.str(2)?.into(),
        prefix: row.str(3)?.into(),
        hash: hash(row.bytes(4)?)?,
        scopes: row.json(5)?.unwrap_or_default(),
        expires_at: row.opt_parsed(6)?,
        last_used_at: row.opt_parsed(7)?,
        created_at: row.parsed(8)?,
    })
}

pub(super) fn token(row: &impl Columns) -> Result<OneTimeToken> {
    Ok(OneTimeToken {
        hash: hash(row.bytes(0)?)?,
        purpose: row.parsed(1)?,
        user_id: row.opt_parsed(2)?,
        data: row.json(3)?.unwrap_or_default(),
        tries_left: row.number(4)?,
        expires_at: row.parsed(5)?,
    })
}

fn hash(bytes: &[u8]) -> Result<TokenHash> {
    TokenHash::from_slice(bytes).ok_or_else(|| {
        Fault::said(
            etl_core::contract::StoreErrorKind::Corrupt,
            "a stored hash has not 32 bytes",
        )
    })
}
