//! Secrets as text, and the tokens that are made of chance alone.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use etl_core::model::TokenHash;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// How many bytes of chance a token has.
const CHANCE: usize = 32;

/// Text that is never shown but to whom it is handed out, and that is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// As it is handed out, in an answer.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password" })
    }
}

/// What a token is for. One for one thing is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// Goes on with a session.
    Refresh,
    /// Signs a program in.
    ApiKey,
    /// Stands for a sign-in that waits for its second factor.
    Challenge,
    /// Makes the first admin.
    Setup,
    /// Opens a WebSocket.
    Ticket,
}

impl TokenKind {
    /// How such a token begins, so that whoever finds one somewhere knows what it is.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Refresh => "etl_rt_",
            Self::ApiKey => "etl_ak_",
            Self::Challenge => "etl_mt_",
            Self::Setup => "etl_st_",
            Self::Ticket => "etl_wt_",
        }
    }

    /// A token that nobody can guess.
    pub(crate) fn token(self) -> Result<Secret, NoChance> {
        let bytes = chance::<CHANCE>()?;
        Ok(self.made_of(&bytes))
    }

    /// The token that these bytes make.
    pub(super) fn made_of(self, bytes: &[u8; CHANCE]) -> Secret {
        let mut text = String::with_capacity(64);
        text.push_str(self.prefix());
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        Secret::new(text)
    }

    /// What a store knows a token by; `None` if it can't be one of this kind.
    pub(crate) fn hash(self, token: &str) -> Option<TokenHash> {
        let rest = token.strip_prefix(self.prefix())?;
        let mut bytes = Zeroizing::new([0; CHANCE + 1]);
        let count = URL_SAFE_NO_PAD.decode_slice(rest, &mut bytes[..]).ok()?;
        (count == CHANCE).then(|| hash_of(token.as_bytes()))
    }
}

/// The SHA-256 of something that has enough chance in it.
pub(super) fn hash_of(bytes: &[u8]) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    TokenHash(hash)
}

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub(crate) struct NoChance;

/// Bytes that nobody can guess.
pub(super) fn chance<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoChance> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new()
        .fill(&mut bytes[..])
        .map_err(|_| NoChance)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_kind_and_its_length() {
        let token = TokenKind::Refresh.token().unwrap();
        let text = token.expose();
        assert_eq!(text.len(), 7 + 43);
        assert!(TokenKind::Refresh.hash(text).is_some());
        for other in [TokenKind::ApiKey, TokenKind::Challenge, TokenKind::Setup] {
            assert_eq!(other.hash(text), None);
            assert_eq!(
                TokenKind::Refresh.hash(&text.replace("etl_rt_", other.prefix())),
                None
            );
        }
        for broken in [
            &text[..text.len() - 1],
            &format!("{text}A"),
            &format!("{text}="),
            &format!(" {text}"),
            &format!("{text}\n"),
            "etl_rt_",
            "",
        ] {
            assert_eq!(TokenKind::Refresh.hash(broken), None, "{broken:?}");
        }
        assert_ne!(token, TokenKind::Refresh.token().unwrap());
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }
}
