//! Sessions and their refresh tokens.

use etl_core::contract::store::{OpenSession, RevokeSession, RotateToken, TokenRotation};
use etl_core::model::{Rotation, Session, SessionId, TokenHash, UserId};

use super::users;
use super::{Answered, Arg, SqlConn, each, row, rows};
use crate::fault::{Fault, Result};
use crate::rows::Columns;

/// The sessions of a user, the newest first.
pub async fn sessions<C: SqlConn>(conn: &mut C, user: UserId) -> Result<Vec<Session>> {
    let found = conn.rows(C::ACCOUNTS.sessions, vec![Arg::id(user)]).await?;
    found.iter().map(rows::session).collect()
}

async fn to_change<C: SqlConn>(conn: &mut C, id: SessionId) -> Result<Option<Session>> {
    let found = row(conn, C::ACCOUNTS.session_to_change, vec![Arg::id(id)]).await?;
    found.as_ref().map(rows::session).transpose()
}

async fn refresh<C: SqlConn>(conn: &mut C, hash: TokenHash) -> Result<Option<C::Row>> {
    row(conn, C::ACCOUNTS.refresh, vec![Arg::bytes(&hash.0)]).await
}

async fn insert_refresh<C: SqlConn>(
    conn: &mut C,
    hash: TokenHash,
    session: SessionId,
) -> Result<()> {
    let args = vec![Arg::bytes(&hash.0), Arg::id(session)];
    conn.write(C::ACCOUNTS.insert_refresh, args).await?;
    Ok(())
}

async fn write<C: SqlConn>(conn: &mut C, session: &Session) -> Result<()> {
    let args = vec![
        Arg::id(session.id),
        Arg::text(&session.client),
        Arg::at(session.last_used_at),
        Arg::at(session.idle_at),
        Arg::at_if(session.revoked_at),
        Arg::at(session.ends_at()),
    ];
    conn.write(C::ACCOUNTS.write_session, args).await?;
    Ok(())
}

/// Begins sessions.
pub async fn open_session<C: SqlConn>(
    conn: &mut C,
    inputs: &[&OpenSession],
) -> Answered<Option<Session>> {
    each!(conn, inputs, open)
}

async fn open<C: SqlConn>(conn: &mut C, open: &OpenSession) -> Result<Option<Session>> {
    let user = users::to_change(conn, open.user).await?;
    if !user.is_some_and(|user| user.may_open(open.epoch)) {
        return Ok(None);
    }
    let same = row(conn, C::ACCOUNTS.session, vec![Arg::id(open.id)]).await?;
    if same.is_some() || refresh(conn, open.token).await?.is_some() {
        return Err(Fault::illegal("the session or its token is there already"));
    }
    let session = Session::begin(open.id, open.user, open.client.clone(), conn.now());
    let args = vec![
        Arg::id(session.id),
        Arg::id(session.user_id),
        Arg::text(&session.client),
        Arg::at(session.created_at),
        Arg::at(session.last_used_at),
        Arg::at(session.expires_at),
        Arg::at(session.idle_at),
        Arg::at(session.ends_at()),
    ];
    conn.write(C::ACCOUNTS.insert_session, args).await?;
    insert_refresh(conn, open.token, session.id).await?;
    Ok(Some(session))
}

/// Exchanges refresh tokens.
pub async fn rotate_token<C: SqlConn>(
    conn: &mut C,
    inputs: &[&RotateToken],
) -> Answered<TokenRotation> {
    each!(conn, inputs, rotate)
}

async fn rotate<C: SqlConn>(conn: &mut C, rotate: &RotateToken) -> Result<TokenRotation> {
    let Some(old) = refresh(conn, rotate.old).await? else {
        return Ok(TokenRotation::Unknown);
    };
    let Some(mut session) = to_change(conn, old.parsed(0)?).await? else {
        return Ok(TokenRotation::Unknown);
    };
    // Whoever had the session before may have exchanged the token.
    let Some(old) = refresh(conn, rotate.old).await? else {
        return Ok(TokenRotation::Unknown);
    };
    let Some(user) = users::user(conn, session.user_id).await? else {
        return Ok(TokenRotation::Unknown);
    };
    let exchanged = rows::exchanged(&old)?;
    let new = refresh(conn, rotate.new).await?;
    let new_was_exchanged = new.as_ref().map(rows::exchanged).transpose()?;
    let new_is_live = new_was_exchanged.is_some_and(|exchanged| exchanged.is_none());
    let (now, id) = (conn.now(), session.id);
    let rotation = session.rotate(exchanged, rotate.new, new_is_live, &rotate.client, now);
    if rotation == Rotation::Rotated {
        if new.is_some() {
            return Err(Fault::illegal("the next token is one already"));
        }
        let args = vec![
            Arg::bytes(&rotate.old.0),
            Arg::at(now),
            Arg::bytes(&rotate.new.0),
        ];
        conn.write(C::ACCOUNTS.exchange_refresh, args).await?;
        insert_refresh(conn, rotate.new, id).await?;
    }
    write(conn, &session).await?;
    Ok(TokenRotation::of(rotation, user.id, user.epoch, id))
}

/// Ends sessions.
pub async fn revoke_session<C: SqlConn>(conn: &mut C, inputs: &[&RevokeSession]) -> Answered<bool> {
    each!(conn, inputs, revoke)
}

async fn revoke<C: SqlConn>(conn: &mut C, revoke: &RevokeSession) -> Result<bool> {
    let session = to_change(conn, revoke.session).await?;
    let Some(mut session) = session.filter(|session| session.user_id == revoke.user) else {
        return Ok(false);
    };
    let was_live = session.end(conn.now());
    write(conn, &session).await?;
    Ok(was_live)
}
