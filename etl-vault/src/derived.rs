//! Secrets for other purposes, made of the keys of the key file: every process with the file has the same ones, and nothing of
//! them is stored. It never gives out a key itself.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::file::Role;
use crate::key::{KEY_BYTES, Key, KeyId};
use crate::keyring::Keyring;
use crate::vault::Vault;

/// What a key that a secret was derived from is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It seals now: make new things with its secret.
    Current,
    /// A rotation to it or away from it is under way: other processes may make new things with its secret.
    Changing,
    /// Nothing new is made with its secret. It may have been put aside because others have seen it: accept what it made only
    /// where that has to be read for years, and never as a proof of who someone is.
    Old,
}

impl From<Role> for Standing {
    fn from(role: Role) -> Self {
        match role {
            Role::Current => Self::Current,
            Role::Next | Role::Retiring => Self::Changing,
            Role::Old => Self::Old,
        }
    }
}

/// 32 secret bytes for one purpose, wiped when they are dropped.
#[derive(Clone)]
pub struct DerivedKey {
    key_id: KeyId,
    standing: Standing,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DerivedKey({}, {:?}, [redacted])",
            self.key_id, self.standing
        )
    }
}

impl DerivedKey {
    fn new(key: &Key, standing: Standing, purpose: &str) -> Self {
        Self {
            key_id: key.id(),
            standing,
            bytes: expand(key.bytes(), purpose),
        }
    }

    /// The key that the bytes were derived from. It may be shown.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// What that key is for.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The secret bytes.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

impl Vault {
    /// The secrets of a purpose, one for each key of the key file as it is now: the current key's first. A purpose is a constant
    /// of the program; those of two purposes tell nothing of each other.
    ///
    /// # Errors
    /// `NoSharedKey` if a passphrase seals; `NoKey` if there is no key file and none may be made; what is wrong with the file.
    pub async fn derived_keys(&self, purpose: &'static str) -> Result<Vec<DerivedKey>, VaultError> {
        self.on_disk(move |ring| derive(ring, purpose)).await
    }
}

fn derive(ring: &Keyring, purpose: &str) -> Result<Vec<DerivedKey>, VaultError> {
    // A passphrase's salt is that of the credentials which are stored. Without any, each process would have a salt of its own;
    // and one that is the same everywhere would let whoever sees what the secret made try passphrases that were tried before.
    if ring.has_passphrase() {
        return Err(VaultError::NoSharedKey);
    }
    let current = ring.sealing()?;
    let keys = ring.read_file()?.unwrap_or_default();
    let first = DerivedKey::new(&current, Standing::Current, purpose);
    let others = keys.0.iter().filter(|(_, key)| key.id() != current.id());
    let others = others.map(|(role, key)| {
        let standing = match Standing::from(*role) {
            // The file was replaced between the two looks.
            Standing::Current => Standing::Changing,
            standing => standing,
        };
        DerivedKey::new(key, standing, purpose)
    });
    Ok(std::iter::once(first).chain(others).collect())
}

/// HKDF-Expand of RFC 5869 with SHA-256, one block. The key has 32 uniform bytes already, so that there is nothing to extract.
fn expand(key: &[u8; KEY_BYTES], purpose: &str) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(b"etl-vault derived key, version 1\0");
    mac.update(purpose.as_bytes());
    mac.update(&[1]);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_has_the_same_secret_in_every_version_of_the_program() {
        // Computed with another implementation of HMAC.
        let hex = |purpose| -> String {
            let bytes = expand(&[7; KEY_BYTES], purpose);
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(
            hex("tokens"),
            "0e4d7d58de5a5a29dceb2197008db4817bd9833ba951ceed04eb0cddc8baad23"
        );
        assert_eq!(
            hex("audit"),
            "83fae5f27becaa8fd188ffef29c62c71c07eaae073ac5d6237a979636152433e"
        );
    }

    #[test]
    fn nothing_secret_is_shown() {
        let key = Key::new(Zeroizing::new([7; KEY_BYTES]));
        let derived = DerivedKey::new(&key, Standing::Current, "tokens");
        assert_eq!(
            format!("{derived:?}"),
            format!("DerivedKey({}, Current, [redacted])", key.id())
        );
    }
}
