//! The vault's handle: sealing, opening, and whether every key is at hand.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use etl_core::contract::store::{
    CredentialStore, CredentialWrite, PutCredential, SealedCredential,
};
use etl_core::contract::{CredentialError, Credentials};
use etl_core::model::{By, CredentialId, PageRequest};
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::envelope::{self, Header, Place};
use crate::error::VaultError;
use crate::file::Hold;
use crate::key::{Key, KeyId};
use crate::keyring::{KeySource, Keyring};
use crate::sealed::Keeper;

/// The most JSON that a credential may hold, in bytes.
const LARGEST: usize = 64 * 1024;
/// The longest name of a credential.
const LONGEST_NAME: usize = 255;
/// How often a write is tried that others get in the way of.
const TRIES: usize = 16;
/// How often a missing key is looked for, while a rotation drops keys.
const LOOKS: usize = 3;
/// How many credentials are looked at together.
pub(crate) const PAGE: usize = 100;

/// Credentials in a store, sealed with the keys at hand. Cheap to clone.
///
/// # Contract
/// With the store: it is given sealed bytes and never a key or a secret. With the launcher:
/// [`Credentials`](etl_core::contract::Credentials). Whoever starts to run jobs MUST ask [`check`](Self::check) first.
#[derive(Debug, Clone)]
pub struct Vault {
    pub(crate) store: Arc<dyn CredentialStore>,
    pub(crate) ring: Arc<Keyring>,
    pub(crate) keeper: Option<Arc<dyn Keeper>>,
}

impl Vault {
    /// A vault over this store. Nothing is read yet.
    pub fn new(store: Arc<dyn CredentialStore>, source: KeySource) -> Self {
        Self {
            store,
            ring: Arc::new(Keyring::new(source)),
            keeper: None,
        }
    }

    /// The same vault, whose rotations go through what this one keeps too.
    pub fn with_keeper(self, keeper: Arc<dyn Keeper>) -> Self {
        Self {
            keeper: Some(keeper),
            ..self
        }
    }

    /// Sees that the key of every stored credential is at hand, so that a wrong key is found at the start and not in the middle
    /// of a job. A store without credentials needs no key.
    ///
    /// # Errors
    /// `KeyMissing` with the key that most of them need; what is wrong with the key file.
    pub async fn check(&self) -> Result<(), VaultError> {
        // A credential that was read just before a rotation took it, and dropped its key, is found anew.
        let mut missing = self.missing_keys().await?;
        for _ in 1..LOOKS {
            if missing.is_empty() {
                break;
            }
            missing = self.missing_keys().await?;
        }
        match missing.into_iter().max_by_key(|(id, count)| (*count, *id)) {
            None => Ok(()),
            Some((key_id, credentials)) => Err(self.missing(key_id, credentials).await?),
        }
    }

    /// The keys that are not at hand, and how many credentials each would open.
    async fn missing_keys(&self) -> Result<HashMap<KeyId, usize>, VaultError> {
        let mut missing: HashMap<KeyId, usize> = HashMap::new();
        let mut page = PageRequest::first(PAGE);
        loop {
            let answer = self.store.credentials(&page).await?;
            for stored in &answer.items {
                let Ok(header) = envelope::header(&stored.sealed) else {
                    // One that is damaged is told when it is used: it must not keep the others from being used.
                    tracing::warn!(name = stored.name, "a stored credential is damaged");
                    continue;
                };
                let is_missing =
                    missing.contains_key(&header.key) || self.find(header).await?.is_none();
                if is_missing {
                    *missing.entry(header.key).or_default() += 1;
                }
            }
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => return Ok(missing),
            }
        }
    }

    pub(crate) async fn missing(
        &self,
        key_id: KeyId,
        credentials: usize,
    ) -> Result<VaultError, VaultError> {
        let at_hand = self.on_disk(|ring| Ok(ring.in_words())).await?;
        Ok(VaultError::KeyMissing {
            key_id,
            credentials,
            at_hand,
        })
    }

    pub(crate) async fn find(&self, header: Header) -> Result<Option<Key>, VaultError> {
        match self.ring.at_hand(header.key) {
            Some(key) => Ok(Some(key)),
            None => self.on_disk(move |ring| ring.find(&header)).await,
        }
    }

    /// Seals a secret, a JSON object, under a name: a new credential, or the next version of the one that is there.
    ///
    /// # Errors
    /// `Invalid` for a name or a secret that can't be; `KeyMissing` if a stored one doesn't open, so that a lost key is not
    /// replaced unseen; `NoKey`; and what the key file and the store answer.
    pub async fn set(
        &self,
        namespace: &str,
        name: &str,
        connector_type: &str,
        secret: &[u8],
        by: &By,
    ) -> Result<SealedCredential, VaultError> {
        let place = (namespace, name);
        self.seal(place, connector_type, secret, by, None).await
    }

    /// As [`set`](Self::set), if the credential is at this version: 0 for one that is not there.
    ///
    /// # Errors
    /// `Stale` if it is at another; and as `set`.
    pub async fn set_if(
        &self,
        version: u64,
        (namespace, name): (&str, &str),
        connector_type: &str,
        secret: &[u8],
        by: &By,
    ) -> Result<SealedCredential, VaultError> {
        let place = (namespace, name);
        let expected = Some(version);
        self.seal(place, connector_type, secret, by, expected).await
    }

    async fn seal(
        &self,
        (namespace, name): (&str, &str),
        connector_type: &str,
        secret: &[u8],
        by: &By,
        expected: Option<u64>,
    ) -> Result<SealedCredential, VaultError> {
        check_namespace(namespace)?;
        check_name(name)?;
        let secret = checked(secret)?;
        // Held until the store has it: no rotation ends, and drops a key, in between.
        let _keys_stay = self.on_disk(|ring| ring.file.hold(Hold::Shared)).await?;
        self.check().await?;
        let key = self.on_disk(Keyring::sealing).await?;
        for _ in 0..TRIES {
            let before = self.store.credential(namespace, name).await?;
            let version = before.as_ref().map_or(0, |before| before.version);
            if expected.is_some_and(|expected| expected != version) {
                return Err(VaultError::Stale { version });
            }
            let mut put = PutCredential {
                id: before
                    .as_ref()
                    .map_or_else(|| CredentialId(Uuid::now_v7()), |before| before.id),
                namespace: namespace.into(),
                name: name.into(),
                connector_type: connector_type.into(),
                version: version + 1,
                key_id: key.id().to_string(),
                sealed: Vec::new(),
                by: by.clone(),
            };
            put.sealed = envelope::seal(&key, Place::from(&put), &secret)?;
            if self.store.put_credential(put).await? == CredentialWrite::Written
                && let Some(stored) = self.store.credential(namespace, name).await?
            {
                return Ok(stored);
            }
        }
        Err(VaultError::Contended)
    }

    /// Removes a credential; it needs no key. Whether it was there.
    pub async fn remove(&self, namespace: &str, name: &str) -> Result<bool, VaultError> {
        Ok(self.store.remove_credential(namespace, name).await?)
    }

    /// Opens what a store gave.
    pub(crate) async fn unseal(
        &self,
        stored: &SealedCredential,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let damaged = || VaultError::Damaged {
            namespace: stored.namespace.clone(),
            name: stored.name.clone(),
            key_id: stored.key_id.clone(),
        };
        let header = envelope::header(&stored.sealed).map_err(|_| damaged())?;
        match self.find(header).await? {
            Some(key) => open(&key, stored).ok_or_else(damaged),
            None => Err(self.missing(header.key, 1).await?),
        }
    }

    /// Does what may wait for the disk, or compute, away from the async threads.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Keyring) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let ring = Arc::clone(&self.ring);
        let done = tokio::task::spawn_blocking(move || work(&ring)).await;
        done.unwrap_or_else(|_| Err(VaultError::Invalid("the vault was stopped".into())))
    }
}

fn open(key: &Key, stored: &SealedCredential) -> Option<Zeroizing<Vec<u8>>> {
    envelope::open(key, Place::from(stored), &stored.sealed).ok()
}

/// As documents have it: no pipeline could be of any other, and a list's cursor is made of it.
fn check_namespace(namespace: &str) -> Result<(), VaultError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins = namespace.bytes().next().is_some_and(is_plain);
    let mut bytes = namespace.bytes();
    if begins
        && namespace.len() <= LONGEST_NAME
        && bytes.all(|byte| is_plain(byte) || b"_-".contains(&byte))
    {
        return Ok(());
    }
    Err(VaultError::Invalid(format!(
        "{namespace:?} is not the name of a namespace: small letters, digits, `_` and `-`, at most {LONGEST_NAME}, the first a letter or a digit"
    )))
}

/// Names are used in commands and in documents.
fn check_name(name: &str) -> Result<(), VaultError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= LONGEST_NAME && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(VaultError::Invalid(format!(
        "{name:?} is not the name of a credential: letters, digits, `.`, `_` and `-`, at most {LONGEST_NAME}, the first a letter or a digit"
    )))
}

/// The secret as it is sealed. What is wrong with it is told by its place: the text is the secret.
fn checked(secret: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    if secret.len() > LARGEST {
        return Err(VaultError::Invalid(format!(
            "the secret has {} bytes, more than {LARGEST}",
            secret.len()
        )));
    }
    let object: Map<String, Value> = serde_json::from_slice(secret).map_err(|error| {
        VaultError::Invalid(format!(
            "the secret is not one JSON object (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    if object.is_empty() {
        return Err(VaultError::Invalid("the secret is an empty object".into()));
    }
    Ok(Zeroizing::new(secret.to_vec()))
}

#[async_trait]
impl Credentials for Vault {
    async fn open(
        &self,
        namespace: &str,
        name: &str,
        connector_type: &str,
    ) -> Result<Value, CredentialError> {
        let mut looks = 0;
        let secret = loop {
            let stored = self.store.credential(namespace, name).await;
            let stored = stored
                .map_err(|error| CredentialError::Unavailable(error.into()))?
                .ok_or_else(|| CredentialError::Missing(name.into()))?;
            if stored.connector_type != connector_type {
                return Err(CredentialError::Elsewhere {
                    name: name.into(),
                    made_for: stored.connector_type,
                });
            }
            looks += 1;
            match self.unseal(&stored).await {
                Ok(secret) => break secret,
                // Sealed anew since it was read, and its key dropped: the next look finds the new one.
                Err(VaultError::KeyMissing { .. }) if looks < LOOKS => {}
                Err(VaultError::KeyMissing { .. } | VaultError::Damaged { .. }) => {
                    return Err(CredentialError::Sealed(name.into()));
                }
                Err(other) => return Err(CredentialError::Unavailable(other.into())),
            }
        };
        // The cause is left out: it may quote what it read.
        serde_json::from_slice(&secret).map_err(|_| CredentialError::Sealed(name.into()))
    }
}
