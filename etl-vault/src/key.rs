//! Keys: 32 secret bytes with a public name, and where they come from.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::VaultError;

/// The bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// The bytes of a key's id.
pub(crate) const ID_BYTES: usize = 8;
/// The bytes of the salt of a passphrase.
pub(crate) const SALT_BYTES: usize = 32;
/// The rounds of PBKDF2 (OWASP's figure for HMAC-SHA256).
pub(crate) const ROUNDS: u32 = 600_000;

/// The public name of a key: 16 hexadecimal digits that are computed from it, so that another key never goes by the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub(crate) [u8; ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no [`KeyId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's id has 16 hexadecimal digits")]
pub struct NoKeyId;

impl FromStr for KeyId {
    type Err = NoKeyId;

    fn from_str(text: &str) -> Result<Self, NoKeyId> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 2 * ID_BYTES || !text.bytes().all(is_hex) {
            return Err(NoKeyId);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| NoKeyId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// A key, wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: KeyId,
    /// How it comes from a passphrase, if it does.
    salt: Option<[u8; SALT_BYTES]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, [redacted])", self.id)
    }
}

impl Key {
    pub(crate) fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let id = id_of(&bytes);
        Self {
            bytes,
            id,
            salt: None,
        }
    }

    pub(crate) fn random() -> Result<Self, VaultError> {
        Ok(Self::new(random()?))
    }

    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    pub(crate) fn salt(&self) -> Option<&[u8; SALT_BYTES]> {
        self.salt.as_ref()
    }
}

/// The id is a keyed hash of a constant: it tells nothing about a random key, and of a passphrase no more than anything that is
/// sealed with it.
fn id_of(key: &[u8; KEY_BYTES]) -> KeyId {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(b"etl-vault key id, version 1");
    let hash = mac.finalize().into_bytes();
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&hash[..ID_BYTES]);
    KeyId(id)
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, VaultError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut bytes[..]).map_err(VaultError::Random)?;
    Ok(bytes)
}

/// A passphrase that keys are derived from.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase([redacted])")
    }
}

impl Passphrase {
    /// The fewest characters that a passphrase may have: whoever has the database can try as many as they like.
    pub const SHORTEST: usize = 12;

    /// A passphrase.
    ///
    /// # Errors
    /// `Invalid` if it is too short.
    pub fn new(text: String) -> Result<Self, VaultError> {
        let text = Zeroizing::new(text);
        if text.chars().count() < Self::SHORTEST {
            return Err(VaultError::Invalid(format!(
                "the passphrase is shorter than {} characters",
                Self::SHORTEST
            )));
        }
        Ok(Self(text))
    }

    /// The key of this passphrase and salt: a fraction of a second of computing.
    pub(crate) fn derive(&self, salt: [u8; SALT_BYTES]) -> Key {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        pbkdf2::pbkdf2_hmac::<Sha256>(self.0.as_bytes(), &salt, ROUNDS, &mut bytes[..]);
        Key {
            salt: Some(salt),
            ..Key::new(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_same_id_in_every_version_of_the_program() {
        let key = Key::new(Zeroizing::new([7; KEY_BYTES]));
        let id = key.id().to_string();
        assert_eq!(id.len(), 16);
        assert_eq!(id.parse(), Ok(key.id()));
        assert_ne!(Key::new(Zeroizing::new([8; KEY_BYTES])).id(), key.id());
        for text in [
            "",
            "0",
            "00112233445566GG",
            "+011223344556677",
            "00112233445566AA",
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(NoKeyId), "{text}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let passphrase = Passphrase::new("correct horse battery".into()).unwrap();
        assert_eq!(format!("{passphrase:?}"), "Passphrase([redacted])");
        let key = Key::new(Zeroizing::new([7; KEY_BYTES]));
        assert_eq!(format!("{key:?}"), format!("Key({}, [redacted])", key.id()));
        let refused = Passphrase::new("hunter2".into()).unwrap_err();
        assert!(!refused.to_string().contains("hunter2"));
    }
}
