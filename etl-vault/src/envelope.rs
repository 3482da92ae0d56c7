//! What is sealed: the format, and that it opens in its own place and nowhere else.
//!
//! ```text
//! 0   1   version of the format: 1
//! 1   1   algorithm: 1, AES-256-GCM for the secret and for its key
//! 2   8   id of the master key
//! 10  1   0: the master key is from a file; 1: PBKDF2-HMAC-SHA256, and then
//!         4 rounds, big endian, and 32 salt
//!     12  nonce of the wrapped key
//!     48  the secret's own key under the master key, with its tag
//!     12  nonce of the secret
//!     …   the secret under its own key, with its tag (16)
//! ```
//!
//! The associated data of both is the header, up to the first nonce, and the place: id, namespace, name, connector and version
//! of the credential. Each key of a secret is used once, so nonces can't repeat under it; master keys wrap keys under random
//! nonces, far below the 2^32 that NIST SP 800-38D allows.

use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use etl_core::contract::store::{PutCredential, SealedCredential};
use etl_core::model::CredentialId;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::key::{ID_BYTES, KEY_BYTES, Key, KeyId, ROUNDS, SALT_BYTES, random};

const FORMAT: u8 = 1;
const AES_256_GCM: u8 = 1;
const FROM_FILE: u8 = 0;
const PBKDF2_SHA256: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Where a credential is: what is sealed opens here alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) id: CredentialId,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) connector_type: &'a str,
    pub(crate) version: u64,
}

impl<'a> From<&'a SealedCredential> for Place<'a> {
    fn from(stored: &'a SealedCredential) -> Self {
        Self {
            id: stored.id,
            namespace: &stored.namespace,
            name: &stored.name,
            connector_type: &stored.connector_type,
            version: stored.version,
        }
    }
}

impl<'a> From<&'a PutCredential> for Place<'a> {
    fn from(put: &'a PutCredential) -> Self {
        Self {
            id: put.id,
            namespace: &put.namespace,
            name: &put.name,
            connector_type: &put.connector_type,
            version: put.version,
        }
    }
}

impl Place<'_> {
    /// The associated data, each text with its length before it, so that no two places come to the same bytes.
    fn bound(&self, purpose: u8, header: &[u8]) -> Vec<u8> {
        let mut data = vec![purpose];
        let mut text = |bytes: &[u8]| {
            data.extend((bytes.len() as u64).to_be_bytes());
            data.extend(bytes);
        };
        text(header);
        text(self.id.0.as_bytes());
        text(self.namespace.as_bytes());
        text(self.name.as_bytes());
        text(self.connector_type.as_bytes());
        text(&self.version.to_be_bytes());
        data
    }
}

/// The purposes of associated data: what wraps a key never passes for a secret.
const THE_KEY: u8 = 1;
const THE_SECRET: u8 = 2;

/// It does not open: another key, another place, or damage. Which of them can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not open")]
pub(crate) struct Shut;

/// Which key opens something sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) key: KeyId,
    /// The salt of the passphrase that the key comes from.
    pub(crate) salt: Option<[u8; SALT_BYTES]>,
}

/// Reads off something sealed which key opens it.
pub(crate) fn header(sealed: &[u8]) -> Result<Header, Shut> {
    Ok(Parts::of(sealed)?.header)
}

struct Parts<'a> {
    header: Header,
    header_bytes: &'a [u8],
    key_nonce: &'a [u8],
    wrapped: &'a [u8],
    nonce: &'a [u8],
    secret: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Result<Self, Shut> {
        let mut rest = sealed;
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at_checked(count).ok_or(Shut)?;
            rest = left;
            Ok::<_, Shut>(taken)
        };
        if take(2)? != [FORMAT, AES_256_GCM] {
            return Err(Shut);
        }
        let key = KeyId(take(ID_BYTES)?.try_into().map_err(|_| Shut)?);
        let salt = match take(1)? {
            [FROM_FILE] => None,
            [PBKDF2_SHA256] => {
                // Other rounds than ours would be somebody's wish to make a passphrase weak, or us busy.
                if take(4)? != ROUNDS.to_be_bytes() {
                    return Err(Shut);
                }
                Some(take(SALT_BYTES)?.try_into().map_err(|_| Shut)?)
            }
            _ => return Err(Shut),
        };
        let key_nonce = take(NONCE_BYTES)?;
        let wrapped = take(KEY_BYTES + TAG_BYTES)?;
        let nonce = take(NONCE_BYTES)?;
        if rest.len() < TAG_BYTES {
            return Err(Shut);
        }
        let header_bytes = sealed.len() - rest.len() - 2 * NONCE_BYTES - KEY_BYTES - TAG_BYTES;
        Ok(Self {
            header: Header { key, salt },
            header_bytes: sealed.get(..header_bytes).ok_or(Shut)?,
            key_nonce,
            wrapped,
            nonce,
            secret: rest,
        })
    }
}

/// Seals a secret for a place.
pub(crate) fn seal(key: &Key, place: Place<'_>, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut sealed = vec![FORMAT, AES_256_GCM];
    sealed.extend(key.id().0);
    match key.salt() {
        None => sealed.push(FROM_FILE),
        Some(salt) => {
            sealed.push(PBKDF2_SHA256);
            sealed.extend(ROUNDS.to_be_bytes());
            sealed.extend(salt);
        }
    }
    let header = sealed.clone();
    let own = random::<KEY_BYTES>()?;
    encrypt(
        key.bytes(),
        &place.bound(THE_KEY, &header),
        &own[..],
        &mut sealed,
    )?;
    encrypt(&own, &place.bound(THE_SECRET, &header), secret, &mut sealed)?;
    Ok(sealed)
}

/// Opens what was sealed for this place.
pub(crate) fn open(key: &Key, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Shut> {
    let parts = Parts::of(sealed)?;
    if parts.header.key != key.id() {
        return Err(Shut);
    }
    let bound = place.bound(THE_KEY, parts.header_bytes);
    let own = decrypt(key.bytes(), parts.key_nonce, &bound, parts.wrapped)?;
    let own: Zeroizing<[u8; KEY_BYTES]> =
        Zeroizing::new(own.as_slice().try_into().map_err(|_| Shut)?);
    let bound = place.bound(THE_SECRET, parts.header_bytes);
    decrypt(&own, parts.nonce, &bound, parts.secret)
}

/// Appends a fresh nonce, and the text under it with its tag.
fn encrypt(
    key: &[u8; KEY_BYTES],
    bound: &[u8],
    text: &[u8],
    sealed: &mut Vec<u8>,
) -> Result<(), VaultError> {
    let nonce = random::<NONCE_BYTES>()?;
    let mut buffer = Zeroizing::new(text.to_vec());
    let tag = Aes256Gcm::new(key.into())
        .encrypt_in_place_detached(Nonce::from_slice(&nonce[..]), bound, &mut buffer)
        .map_err(|_| VaultError::Invalid("the credential is too large".into()))?;
    sealed.extend(&nonce[..]);
    sealed.extend(&buffer[..]);
    sealed.extend(tag);
    Ok(())
}

fn decrypt(
    key: &[u8; KEY_BYTES],
    nonce: &[u8],
    bound: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Shut> {
    let text = sealed.len().checked_sub(TAG_BYTES).ok_or(Shut)?;
    let (text, tag) = sealed.split_at_checked(text).ok_or(Shut)?;
    let mut buffer = Zeroizing::new(text.to_vec());
    Aes256Gcm::new(key.into())
        .decrypt_in_place_detached(
            Nonce::from_slice(nonce),
            bound,
            &mut buffer,
            Tag::from_slice(tag),
        )
        .map_err(|_| Shut)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests;
