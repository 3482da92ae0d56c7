//! Another key: made, then taken for every credential, while jobs use them.
//!
//! The key file is what a rotation remembers. First the new key becomes the current one there, and the one before is
//! `retiring`: from then on all is sealed with the new key, and both open. Then each credential is sealed anew, by
//! compare-and-set on its version. When every one of them opens with the new key, the one before is `old`, or goes. Killed at
//! any point, everything that is stored opens with the keys of the file, and the next rotation goes on: it finds a retiring key.

use etl_core::contract::store::{CredentialWrite, Reseal, SealedCredential};
use etl_core::model::PageRequest;

use crate::envelope::{self, Place};
use crate::error::VaultError;
use crate::file::{Hold, Keys, Role};
use crate::key::{Key, KeyId};
use crate::keyring::Keyring;
use crate::vault::{PAGE, Vault};

/// How often all credentials are gone through, while others store some with another key.
const PASSES: usize = 8;
/// How often one credential is tried that others change.
const TRIES: usize = 16;

/// What becomes of keys that seal nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldKeys {
    /// They stay in the key file: they open backups of the store.
    Keep,
    /// They go.
    Drop,
}

/// A credential that does not open with its key: it was damaged, or moved to another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its namespace; of a secret that others keep, what it is for.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key that it names.
    pub key_id: String,
}

/// A rotation that is through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The key that opens every credential now, but for the damaged ones.
    pub key_id: KeyId,
    /// Whether it went on with one that had been broken off.
    pub is_resumed: bool,
    /// How many credentials were sealed anew.
    pub resealed: u64,
    /// How many credentials were opened with the key: all but the damaged ones.
    pub verified: u64,
    /// How many secrets that others keep were opened with the key, after those with another were sealed anew.
    pub kept_by_others: u64,
    /// Those that do not open with any key, and were left as they are. As long as there are some, no key is dropped: a row that
    /// is brought back from a backup may need it.
    pub damaged: Vec<Damaged>,
    /// The keys that were dropped.
    pub dropped: Vec<KeyId>,
    /// The keys that stay for backups.
    pub kept: Vec<KeyId>,
}

/// One time through all credentials.
#[derive(Debug, Default)]
struct Pass {
    resealed: u64,
    verified: u64,
    damaged: Vec<Damaged>,
}

impl Pass {
    /// Notes what became of one: whether it was sealed anew, or that it does not open.
    fn note(&mut self, resealed: Result<bool, VaultError>) -> Result<(), VaultError> {
        match resealed {
            Ok(was_resealed) => {
                self.resealed += u64::from(was_resealed);
                self.verified += 1;
            }
            Err(VaultError::Damaged {
                namespace,
                name,
                key_id,
            }) => self.damaged.push(Damaged {
                namespace,
                name,
                key_id,
            }),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Whether somebody already sees to it that nobody changes the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeysAre {
    Free,
    Held,
}

impl Vault {
    /// Makes another key the one that seals, and seals every credential with it. Jobs, and whoever stores credentials, may go on
    /// meanwhile. Broken off at any point it loses nothing, and the next call goes on.
    ///
    /// With a passphrase the key is that of the passphrase: what another passphrase or the key file sealed is moved to it, and
    /// if nothing is to be moved, it gets another salt.
    ///
    /// What a [keeper](Vault::with_keeper) has is sealed anew as well.
    ///
    /// A credential that is damaged does not hold up the others: it is told, and the keys before stay for it.
    ///
    /// # Errors
    /// `KeyMissing` if a credential's key is not at hand: nothing was changed then.
    pub async fn rotate(&self, old: OldKeys) -> Result<Rotation, VaultError> {
        self.check().await?;
        let (key, is_resumed) = if self.ring.has_passphrase() {
            (self.key_of_passphrase().await?, false)
        } else {
            self.on_disk(begin).await?
        };
        let mut resealed = 0;
        let mut passes = 0;
        loop {
            let pass = self.pass(&key, KeysAre::Free).await?;
            let others = self.pass_others(&key, KeysAre::Free).await?;
            resealed += pass.resealed;
            if pass.resealed + others.resealed == 0 {
                break;
            }
            passes += 1;
            if passes > PASSES {
                return Err(VaultError::Contended);
            }
        }
        // Nobody seals anything from here on until the file is written.
        let alone = self.on_disk(|ring| ring.file.hold(Hold::Alone)).await?;
        let mut last = self.pass(&key, KeysAre::Held).await?;
        let others = self.pass_others(&key, KeysAre::Held).await?;
        last.damaged.extend(others.damaged);
        let id = key.id();
        let old = if last.damaged.is_empty() {
            old
        } else {
            OldKeys::Keep
        };
        let (kept, dropped) = self.on_disk(move |ring| end(ring, id, old)).await?;
        drop(alone);
        Ok(Rotation {
            key_id: id,
            is_resumed,
            resealed: resealed + last.resealed,
            verified: last.verified,
            kept_by_others: others.verified,
            damaged: last.damaged,
            dropped,
            kept,
        })
    }

    /// Puts the key of the next rotation into the key file, where it opens and does not seal yet, so that the file can be
    /// brought to other machines before it is used.
    ///
    /// # Errors
    /// `NoKey` if there is no key file.
    pub async fn stage(&self) -> Result<KeyId, VaultError> {
        self.on_disk(|ring| {
            let _alone = ring.file.hold(Hold::Alone)?;
            let Some(mut keys) = ring.read_file()? else {
                return Err(VaultError::NoKey(ring.file.0.clone()));
            };
            if let Some(next) = keys.of(Role::Next).next() {
                return Ok(next.id());
            }
            let next = Key::random()?;
            let id = next.id();
            keys.0.push((Role::Next, next));
            ring.file.replace(&keys)?;
            Ok(id)
        })
        .await
    }

    /// The passphrase's key, under another salt if everything has it already.
    async fn key_of_passphrase(&self) -> Result<Key, VaultError> {
        let key = self.on_disk(Keyring::sealing).await?;
        let mut page = PageRequest::first(PAGE);
        loop {
            let answer = self.store.credentials(&page).await?;
            if answer.items.iter().any(|stored| !is_under(&key, stored)) {
                return Ok(key);
            }
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => return self.on_disk(Keyring::salted_anew).await,
            }
        }
    }

    /// Goes through all credentials, page by page. The keys stay as they are while a page is worked on: the caller sees to
    /// it, or the pass does.
    async fn pass(&self, key: &Key, keys: KeysAre) -> Result<Pass, VaultError> {
        let mut done = Pass::default();
        let mut page = PageRequest::first(PAGE);
        loop {
            let _held = match keys {
                KeysAre::Held => None,
                KeysAre::Free => self.on_disk(|ring| ring.file.hold(Hold::Shared)).await?,
            };
            self.still_sealing(key).await?;
            let answer = self.store.credentials(&page).await?;
            for stored in answer.items {
                done.note(self.reseal(key, stored).await)?;
            }
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => return Ok(done),
            }
        }
    }

    /// Goes through what others keep in the same way.
    async fn pass_others(&self, key: &Key, keys: KeysAre) -> Result<Pass, VaultError> {
        let mut done = Pass::default();
        let Some(keeper) = &self.keeper else {
            return Ok(done);
        };
        let mut page = PageRequest::first(PAGE);
        loop {
            let _held = match keys {
                KeysAre::Held => None,
                KeysAre::Free => self.on_disk(|ring| ring.file.hold(Hold::Shared)).await?,
            };
            self.still_sealing(key).await?;
            let answer = keeper.kept(&page).await?;
            for kept in answer.items {
                done.note(self.reseal_kept(key, &kept).await)?;
            }
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => return Ok(done),
            }
        }
    }

    /// That no other rotation has made another key the current one.
    async fn still_sealing(&self, key: &Key) -> Result<(), VaultError> {
        if self.ring.has_passphrase() {
            return Ok(());
        }
        let current = self.on_disk(Keyring::sealing).await?;
        if current.id() == key.id() {
            Ok(())
        } else {
            Err(VaultError::Overtaken)
        }
    }

    /// Sees that a credential opens with the key, sealing it anew if it has another. Whether it had.
    async fn reseal(&self, key: &Key, mut stored: SealedCredential) -> Result<bool, VaultError> {
        for _ in 0..TRIES {
            match self.unseal(&stored).await {
                Ok(_) if is_under(key, &stored) => return Ok(false),
                Ok(secret) => {
                    stored.version += 1;
                    let reseal = Reseal {
                        id: stored.id,
                        version: stored.version,
                        key_id: key.id().to_string(),
                        sealed: envelope::seal(key, Place::from(&stored), &secret)?,
                    };
                    if self.store.reseal_credential(reseal).await? == CredentialWrite::Written {
                        return Ok(true);
                    }
                }
                // Another rotation took it since it was read, and dropped its key; or the key is missing indeed.
                Err(missing @ VaultError::KeyMissing { .. }) => {
                    let now = self
                        .store
                        .credential(&stored.namespace, &stored.name)
                        .await?;
                    if now.is_some_and(|now| now.version == stored.version) {
                        return Err(missing);
                    }
                }
                Err(other) => return Err(other),
            }
            // Somebody stored another value, or removed it.
            match self
                .store
                .credential(&stored.namespace, &stored.name)
                .await?
            {
                Some(now) => stored = now,
                None => return Ok(false),
            }
        }
        Err(VaultError::Contended)
    }
}

fn is_under(key: &Key, stored: &SealedCredential) -> bool {
    envelope::header(&stored.sealed).is_ok_and(|header| header.key == key.id())
}

/// Makes another key the current one of the file, or goes on with the one that a broken-off rotation made so.
fn begin(ring: &Keyring) -> Result<(Key, bool), VaultError> {
    let _alone = ring.file.hold(Hold::Alone)?;
    let Some(mut keys) = ring.read_file()? else {
        // There is nothing to move away from: what is stored is sealed with a passphrase.
        return Ok((ring.sealing()?, false));
    };
    let is_under_way = keys.of(Role::Retiring).next().is_some();
    if !is_under_way {
        let next = match keys.0.iter().position(|(role, _)| *role == Role::Next) {
            Some(at) => keys.0.remove(at).1,
            None => Key::random()?,
        };
        for (role, _) in &mut keys.0 {
            if *role == Role::Current {
                *role = Role::Retiring;
            }
        }
        keys.0.insert(0, (Role::Current, next));
        ring.file.replace(&keys)?;
    }
    Ok((ring.sealing()?, is_under_way))
}

/// Retires what is retiring. The keys that stay and those that went.
fn end(
    ring: &Keyring,
    current: KeyId,
    old: OldKeys,
) -> Result<(Vec<KeyId>, Vec<KeyId>), VaultError> {
    let Some(keys) = ring.read_file()? else {
        return Ok((Vec::new(), Vec::new()));
    };
    let mut left = Keys::default();
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for (role, key) in keys.0.iter().cloned() {
        let id = key.id();
        match (role, old) {
            (Role::Current | Role::Next, _) => left.0.push((role, key)),
            (Role::Retiring | Role::Old, OldKeys::Keep) => {
                kept.push(id);
                left.0.push((Role::Old, key));
            }
            (Role::Retiring | Role::Old, OldKeys::Drop) => dropped.push(id),
        }
    }
    let is_of_file = left.current().is_some_and(|key| key.id() == current);
    if left != keys && (is_of_file || ring.has_passphrase()) {
        ring.file.replace(&left)?;
    }
    Ok((kept, dropped))
}
