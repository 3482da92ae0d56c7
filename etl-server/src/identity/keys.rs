//! The keys that this deployment signs access tokens with. Every process derives the same ones of the key file, and follows it
//! through rotations: a token lives for minutes, so that only keys that may sign now are accepted.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use etl_vault::{DerivedKey, Standing, Vault, VaultError};
use ring::hmac::{HMAC_SHA256, Key as MacKey, sign};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::secret::{NoChance, Secret, TokenKind, chance};

/// How long the key file is not looked at again.
const FRESH: Duration = Duration::from_secs(10);
/// How long it is not looked at again for tokens of keys that are not known.
const FRESH_FOR_STRANGERS: Duration = Duration::from_secs(5);

/// What the derived keys are for.
const ACCESS_TOKENS: &str = "access-token";
const SUCCESSORS: &str = "refresh-token-successor";

/// The keys of now.
#[derive(Debug)]
pub(crate) struct Keys {
    source: Source,
    loaded: RwLock<(Instant, Arc<KeySet>)>,
    loading: Mutex<()>,
}

/// Where the keys come from.
#[derive(Debug)]
enum Source {
    /// The key file, which other processes have as well.
    Shared(Vault),
    /// Chance: this process alone knows them, and they end with it.
    Own,
}

/// Keys of one reading of the key file.
pub(super) struct KeySet {
    /// Signs.
    pair: Ed25519KeyPair,
    /// The first part of every token that it signs.
    header: String,
    /// The public keys that are accepted, by the first part of the tokens that they know.
    accepted: HashMap<String, Vec<u8>>,
    /// Makes refresh tokens of those before them.
    successors: MacKey,
}

/// It shows no key.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("accepted", &self.accepted.len())
            .finish_non_exhaustive()
    }
}

/// There are no keys to sign with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    NoChance(#[from] NoChance),
    #[error("the key for access tokens can't be used")]
    Unusable,
}

impl Keys {
    /// Those that every process with the key file has.
    ///
    /// # Errors
    /// What is wrong with the key file; `NoSharedKey` if the vault has a passphrase.
    pub(crate) async fn shared(vault: Vault) -> Result<Self, KeysError> {
        let set = derived(&vault).await?;
        Ok(Self::of(Source::Shared(vault), set))
    }

    /// Those of this process alone. Who signed in signs in again after its end.
    pub(crate) fn own() -> Result<Self, KeysError> {
        let (seed, successors) = (chance()?, chance()?);
        let set = KeySet::new([("own", &*seed)], &successors)?;
        Ok(Self::of(Source::Own, set))
    }

    fn of(source: Source, set: KeySet) -> Self {
        Self {
            source,
            loaded: RwLock::new((Instant::now(), Arc::new(set))),
            loading: Mutex::default(),
        }
    }

    /// The keys of now, as they were a few seconds ago.
    pub(super) async fn get(&self) -> Arc<KeySet> {
        self.not_older_than(FRESH).await
    }

    /// The keys for a token that none of those before knows.
    pub(super) async fn for_stranger(&self) -> Arc<KeySet> {
        self.not_older_than(FRESH_FOR_STRANGERS).await
    }

    async fn not_older_than(&self, age: Duration) -> Arc<KeySet> {
        let (at, set) = self.seen();
        let Source::Shared(vault) = &self.source else {
            return set;
        };
        if at.elapsed() < age {
            return set;
        }
        // One looks, and the others go on with what is there.
        let Ok(_alone) = self.loading.try_lock() else {
            return set;
        };
        let set = match derived(vault).await {
            Ok(set) => Arc::new(set),
            Err(error) => {
                tracing::warn!(%error, "the key file can't be read: access tokens keep their keys");
                set
            }
        };
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        *loaded = (Instant::now(), Arc::clone(&set));
        set
    }

    fn seen(&self) -> (Instant, Arc<KeySet>) {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.clone()
    }
}

async fn derived(vault: &Vault) -> Result<KeySet, KeysError> {
    let signing = vault.derived_keys(ACCESS_TOKENS).await?;
    let successors = vault.derived_keys(SUCCESSORS).await?;
    // The current key's is the first of both.
    let successors = successors.first().ok_or(KeysError::Unusable)?;
    let is_in_use = |key: &&DerivedKey| key.standing() != Standing::Old;
    let named: Vec<(String, &DerivedKey)> = signing
        .iter()
        .filter(is_in_use)
        .map(|key| (key.key_id().to_string(), key))
        .collect();
    let seeds = named.iter().map(|(id, key)| (&**id, key.bytes()));
    KeySet::new(seeds, successors.bytes())
}

impl KeySet {
    /// Keys of seeds with their names, of which the first one signs.
    fn new<'a>(
        seeds: impl IntoIterator<Item = (&'a str, &'a [u8; 32])>,
        successors: &[u8; 32],
    ) -> Result<Self, KeysError> {
        let mut signing = None;
        let mut accepted = HashMap::new();
        for (name, seed) in seeds {
            let pair =
                Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeysError::Unusable)?;
            let header = json!({ "alg": "EdDSA", "kid": name, "typ": "at+jwt" });
            let header = URL_SAFE_NO_PAD.encode(header.to_string());
            accepted.insert(header.clone(), pair.public_key().as_ref().to_vec());
            signing.get_or_insert((pair, header));
        }
        let (pair, header) = signing.ok_or(KeysError::Unusable)?;
        Ok(Self {
            pair,
            header,
            accepted,
            successors: MacKey::new(HMAC_SHA256, successors),
        })
    }

    /// The first part of tokens that are signed now.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    pub(super) fn sign(&self, text: &str) -> Vec<u8> {
        self.pair.sign(text.as_bytes()).as_ref().to_vec()
    }

    /// The key that knows tokens with this first part.
    pub(super) fn public_key(&self, header: &str) -> Option<&[u8]> {
        self.accepted.get(header).map(Vec::as_slice)
    }

    /// The refresh token that follows this one, always the same: who did not get it asks again.
    pub(super) fn successor(&self, token: &Secret) -> Secret {
        let tag = sign(&self.successors, token.expose().as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        TokenKind::Refresh.made_of(&bytes)
    }
}

#[cfg(test)]
impl Keys {
    /// Keys of these seeds, of which the first one signs.
    pub(super) fn of_seeds(seeds: &[(&str, [u8; 32])]) -> Self {
        let seeds = seeds.iter().map(|(name, seed)| (*name, seed));
        Self::of(Source::Own, KeySet::new(seeds, &[1; 32]).unwrap())
    }

    pub(super) fn now(&self) -> Arc<KeySet> {
        self.seen().1
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use etl_core::memory::MemoryStore;
    use etl_core::runtime::SystemClock;
    use etl_vault::{KeySource, OldKeys};

    use super::*;

    fn a_vault(folder: &Path) -> Vault {
        let source = KeySource {
            file: folder.join("master.key"),
            may_make_file: true,
            passphrase: None,
            old_passphrase: None,
        };
        Vault::new(Arc::new(MemoryStore::new(Arc::new(SystemClock))), source)
    }

    #[tokio::test(start_paused = true)]
    async fn processes_with_one_key_file_have_the_same_keys_through_rotations() {
        let folder = tempfile::tempdir().unwrap();
        let here = Keys::shared(a_vault(folder.path())).await.unwrap();
        let there = Keys::shared(a_vault(folder.path())).await.unwrap();
        let before = here.get().await;
        assert_eq!(before.header(), there.get().await.header());
        let token = TokenKind::Refresh.token().unwrap();
        assert_eq!(
            before.successor(&token),
            there.get().await.successor(&token)
        );
        assert_ne!(before.successor(&token), token);

        let rotating = a_vault(folder.path());
        rotating.rotate(OldKeys::Keep).await.unwrap();
        assert_eq!(here.get().await.header(), before.header());
        tokio::time::advance(FRESH_FOR_STRANGERS).await;
        let after = here.for_stranger().await;
        assert_ne!(after.header(), before.header());
        // Whoever has seen the old key's file can't sign with it for us.
        assert_eq!(after.public_key(before.header()), None);
        tokio::time::advance(FRESH).await;
        assert_eq!(there.get().await.header(), after.header());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_file_that_is_away_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::shared(a_vault(folder.path())).await.unwrap();
        let before = keys.get().await;
        std::fs::write(folder.path().join("master.key"), "nonsense").unwrap();
        tokio::time::advance(FRESH).await;
        assert_eq!(keys.get().await.header(), before.header());
    }
}
