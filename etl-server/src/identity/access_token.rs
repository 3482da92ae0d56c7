//! Access tokens: JWT (RFC 9068) signed with Ed25519. There is one header for each key and it is compared as a whole, so that no
//! token has a say in how it is checked; the library that signs is ring, and there is none for the rest.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use etl_core::model::{SessionId, Timestamp, UserId};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::KeySet;

/// How long a token is good.
pub(crate) const LIFE: Duration = Duration::from_mins(15);
/// How far the clocks of two processes may be apart.
const SKEW: i64 = 30;
/// The longest token that is looked at.
const LONGEST: usize = 2048;

const ISSUER: &str = "etl";
const AUDIENCE: &str = "etl-api";

/// What a token says. The role is not in it: that is asked for when the token is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    /// The user.
    pub(super) sub: UserId,
    /// The session.
    pub(super) sid: SessionId,
    /// The user's epoch: a later one makes the token nothing.
    pub(super) epoch: u64,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Claims {
    pub(super) fn new(user: UserId, session: SessionId, epoch: u64, now: Timestamp) -> Self {
        let now = seconds(now);
        Self {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: user,
            sid: session,
            epoch,
            jti: Uuid::now_v7(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(LIFE.as_secs() as i64),
        }
    }

    /// Whether a token that says this is good at this time.
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        let now = seconds(now);
        let longest = LIFE.as_secs() as i64;
        let is_ours = self.iss == ISSUER && self.aud == AUDIENCE;
        let has_begun = self.iat <= now.saturating_add(SKEW) && self.nbf == self.iat;
        is_ours && has_begun && now < self.exp && self.exp <= self.iat.saturating_add(longest)
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}

/// A token that says this, signed with the key of now.
pub(super) fn sign(claims: &Claims, keys: &KeySet) -> String {
    let claims = serde_json::to_vec(claims).unwrap_or_default();
    sign_bytes(&claims, keys)
}

fn sign_bytes(claims: &[u8], keys: &KeySet) -> String {
    let mut token = format!("{}.{}", keys.header(), URL_SAFE_NO_PAD.encode(claims));
    let signature = keys.sign(&token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

/// Why a token is none: for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is no three parts.
    NoToken,
    /// No key of now has signed it, by what it says itself.
    UnknownKey,
    /// It is not what was signed.
    Signature,
    /// It says something else than an access token does.
    Claims,
    /// It is not for now, or not for here.
    NotGood,
}

/// What a token says, if it is good.
pub(super) fn read(token: &str, keys: &KeySet, now: Timestamp) -> Result<Claims, Flaw> {
    if token.len() > LONGEST {
        return Err(Flaw::NoToken);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Flaw::NoToken)?;
    let (header, claims) = signed.split_once('.').ok_or(Flaw::NoToken)?;
    let key = keys.public_key(header).ok_or(Flaw::UnknownKey)?;
    let signature = decode(signature).ok_or(Flaw::Signature)?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| Flaw::Signature)?;
    let claims = decode(claims).ok_or(Flaw::Claims)?;
    // serde takes a list for an object too.
    if claims.first() != Some(&b'{') {
        return Err(Flaw::Claims);
    }
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Flaw::Claims)?;
    if claims.is_good(now) {
        Ok(claims)
    } else {
        Err(Flaw::NotGood)
    }
}

/// Base64url without padding, in the one way that each text has.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests;
