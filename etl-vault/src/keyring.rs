//! Which keys are at hand: those of the key file, read again when an unknown one is asked for, and those that passphrases give.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::envelope::Header;
use crate::error::VaultError;
use crate::file::{KeyFile, Keys};
use crate::key::{Key, KeyId, Passphrase, SALT_BYTES, random};

/// Where a vault has its keys from.
#[derive(Debug, Clone)]
pub struct KeySource {
    /// The key file. It need not be there as long as nothing asks for a key.
    pub file: PathBuf,
    /// Whether the file may be made, with a new key, when a first credential is sealed.
    pub may_make_file: bool,
    /// If there is one, it seals in place of the file, whose keys still open.
    pub passphrase: Option<Passphrase>,
    /// One that was used before: it opens, until a rotation is through.
    pub old_passphrase: Option<Passphrase>,
}

/// The keys at hand. What it does may wait for the disk or compute for a while: not for an async thread.
#[derive(Debug)]
pub(crate) struct Keyring {
    pub(crate) file: KeyFile,
    source: KeySource,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Every key that was found or derived.
    keys: HashMap<KeyId, Key>,
    /// The key of the passphrase of now.
    of_passphrase: Option<KeyId>,
}

impl Keyring {
    pub(crate) fn new(source: KeySource) -> Self {
        Self {
            file: KeyFile(source.file.clone()),
            source,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Keys are put in whole: a panic of another thread leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a passphrase seals.
    pub(crate) fn has_passphrase(&self) -> bool {
        self.source.passphrase.is_some()
    }

    /// A key that was found before.
    pub(crate) fn at_hand(&self, id: KeyId) -> Option<Key> {
        self.known().keys.get(&id).cloned()
    }

    /// The keys of the file as it is now.
    pub(crate) fn read_file(&self) -> Result<Option<Keys>, VaultError> {
        let keys = self.file.read()?;
        if let Some(keys) = &keys {
            let mut known = self.known();
            for (_, key) in &keys.0 {
                known.keys.insert(key.id(), key.clone());
            }
        }
        Ok(keys)
    }

    /// The key that opens what has this header, if it can be had.
    pub(crate) fn find(&self, header: &Header) -> Result<Option<Key>, VaultError> {
        if let Some(key) = self.at_hand(header.key) {
            return Ok(Some(key));
        }
        match header.salt {
            // Another process may have changed the keys.
            None => {
                self.read_file()?;
            }
            Some(salt) => self.derive(header.key, salt),
        }
        Ok(self.at_hand(header.key))
    }

    /// Derives the key of this id from the passphrases, if one of them gives it.
    fn derive(&self, id: KeyId, salt: [u8; SALT_BYTES]) {
        let current = self.source.passphrase.iter().map(|of| (true, of));
        let old = self.source.old_passphrase.iter().map(|of| (false, of));
        for (is_current, passphrase) in current.chain(old) {
            let key = passphrase.derive(salt);
            if key.id() == id {
                let mut known = self.known();
                known.keys.insert(id, key);
                if is_current {
                    known.of_passphrase = Some(id);
                }
                return;
            }
        }
    }

    /// The key that seals: the passphrase's, else the file's current one, as it is now.
    pub(crate) fn sealing(&self) -> Result<Key, VaultError> {
        if let Some(passphrase) = &self.source.passphrase {
            let of_passphrase = self.known().of_passphrase;
            if let Some(key) = of_passphrase.and_then(|id| self.at_hand(id)) {
                return Ok(key);
            }
            return self.salted(passphrase);
        }
        if let Some(keys) = self.read_file()? {
            return self.current(&keys);
        }
        if !self.source.may_make_file {
            return Err(VaultError::NoKey(self.file.0.clone()));
        }
        self.file.make()?;
        match self.read_file()? {
            Some(keys) => self.current(&keys),
            None => Err(VaultError::NoKey(self.file.0.clone())),
        }
    }

    /// The passphrase's key under a new salt, which seals from now on.
    pub(crate) fn salted_anew(&self) -> Result<Key, VaultError> {
        match &self.source.passphrase {
            Some(passphrase) => self.salted(passphrase),
            None => Err(VaultError::NoKey(self.file.0.clone())),
        }
    }

    fn salted(&self, passphrase: &Passphrase) -> Result<Key, VaultError> {
        let key = passphrase.derive(*random()?);
        let mut known = self.known();
        known.keys.insert(key.id(), key.clone());
        known.of_passphrase = Some(key.id());
        Ok(key)
    }

    fn current(&self, keys: &Keys) -> Result<Key, VaultError> {
        let current = keys.current().cloned();
        current.ok_or_else(|| self.file.fault("it has no current key".into()))
    }

    /// Which keys there are, in words.
    pub(crate) fn in_words(&self) -> String {
        let path = self.file.0.display();
        let file = match self.file.read() {
            Ok(Some(keys)) => {
                let ids: Vec<_> = keys.0.iter().map(|(_, key)| key.id().to_string()).collect();
                format!("the key file {path} has {}", ids.join(", "))
            }
            Ok(None) => format!("there is no key file {path}"),
            Err(_) => format!("the key file {path} can't be used"),
        };
        match (&self.source.passphrase, &self.source.old_passphrase) {
            (None, None) => file,
            (Some(_), None) => format!("the passphrase does not give it, and {file}"),
            _ => format!("no passphrase gives it, and {file}"),
        }
    }
}
