//! The key file: which keys it has and what each is for, read and replaced as a whole.
//!
//! 32 raw bytes, or text: a key a line in base64, with a word before it that says what it is for. A line without a word is the
//! current key; empty lines and those with `#` are passed over.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::key::{KEY_BYTES, Key, random};

/// More is no key file. It is read into memory.
const LARGEST: u64 = 64 * 1024;

/// What a key of the file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It seals, and opens.
    Current,
    /// It becomes the current one with the next rotation; until then it only opens.
    Next,
    /// A rotation away from it is under way: it opens.
    Retiring,
    /// Nothing is sealed with it any more; it opens what comes back from a backup.
    Old,
}

impl Role {
    const ALL: [Self; 4] = [Self::Current, Self::Next, Self::Retiring, Self::Old];

    fn word(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Next => "next",
            Self::Retiring => "retiring",
            Self::Old => "old",
        }
    }
}

/// The keys of a file, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keys(pub(crate) Vec<(Role, Key)>);

impl Keys {
    pub(crate) fn of(&self, role: Role) -> impl Iterator<Item = &Key> {
        self.0
            .iter()
            .filter_map(move |(of, key)| (*of == role).then_some(key))
    }

    pub(crate) fn current(&self) -> Option<&Key> {
        self.of(Role::Current).next()
    }

    /// Reads a file's content.
    fn parse(content: &[u8]) -> Result<Self, String> {
        if let Ok(raw) = <[u8; KEY_BYTES]>::try_from(content) {
            return Ok(Self(vec![(Role::Current, Key::new(Zeroizing::new(raw)))]));
        }
        let text = std::str::from_utf8(content)
            .map_err(|_| "it is neither 32 bytes nor lines of base64".to_owned())?;
        let mut keys = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = at + 1;
            let (role, encoded) = match line.split_once(char::is_whitespace) {
                None => (Role::Current, line),
                Some((word, rest)) => {
                    let role = Role::ALL.into_iter().find(|role| role.word() == word);
                    // The line may be a key that was broken by a space: it is not quoted.
                    let role = role.ok_or_else(|| {
                        format!("line {at} begins with none of current, next, retiring, old")
                    })?;
                    (role, rest.trim())
                }
            };
            let key = decode(encoded)
                .ok_or_else(|| format!("the key in line {at} is not 32 bytes in base64"))?;
            if keys.0.iter().any(|(_, other)| other.id() == key.id()) {
                return Err(format!("line {at} has the same key as a line above"));
            }
            keys.0.push((role, key));
        }
        match keys.of(Role::Current).count() {
            1 => Ok(keys),
            0 => Err("it has no current key".into()),
            _ => Err("it has more than one current key".into()),
        }
    }

    fn text(&self) -> Zeroizing<String> {
        // Made in one piece: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(1024 + self.0.len() * 64));
        text.push_str(
            "# Keys of the vault: whoever has them opens every credential. Keep it with mode 0600, and keep a copy elsewhere.\n",
        );
        for (role, key) in &self.0 {
            let encoded = Zeroizing::new(STANDARD.encode(key.bytes()));
            let _ = writeln!(text, "{} {}", role.word(), *encoded);
        }
        text
    }
}

fn decode(encoded: &str) -> Option<Key> {
    let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let bytes: [u8; KEY_BYTES] = bytes.as_slice().try_into().ok()?;
    Some(Key::new(Zeroizing::new(bytes)))
}

/// How long somebody relies on the keys staying as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Together with others who do the same.
    Shared,
    /// To change them.
    Alone,
}

/// A key file's place.
#[derive(Debug, Clone)]
pub(crate) struct KeyFile(pub(crate) PathBuf);

impl KeyFile {
    /// The keys; `None` if there is no file.
    pub(crate) fn read(&self) -> Result<Option<Keys>, VaultError> {
        let mut file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read", error)),
        };
        let about = file.metadata().map_err(|error| self.io("read", error))?;
        let mode = about.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = self.0.clone();
            return Err(VaultError::Exposed { path, mode });
        }
        if !about.is_file() || about.len() > LARGEST {
            return Err(self.fault("it is no file of keys".into()));
        }
        let mut content = Zeroizing::new(Vec::with_capacity(LARGEST as usize));
        (&mut file)
            .take(LARGEST)
            .read_to_end(&mut content)
            .map_err(|error| self.io("read", error))?;
        let keys = Keys::parse(&content).map_err(|fault| self.fault(fault))?;
        Ok(Some(keys))
    }

    /// Makes a file of one new key, unless there is a file: then that is left alone. It appears whole or not at all.
    pub(crate) fn make(&self) -> Result<(), VaultError> {
        let folder = self.folder();
        std::fs::create_dir_all(&folder).map_err(|error| self.io("made", error))?;
        let keys = Keys(vec![(Role::Current, Key::random()?)]);
        let beside = self.write_beside(&self.0, &keys)?;
        let made = std::fs::hard_link(&beside, &self.0);
        let _ = std::fs::remove_file(&beside);
        match made {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(self.io("made", error)),
            _ => self.flush(&folder),
        }
    }

    /// Replaces the file: who reads it finds the old keys or the new ones, also after a power cut.
    pub(crate) fn replace(&self, keys: &Keys) -> Result<(), VaultError> {
        // A link stays one.
        let path = self
            .0
            .canonicalize()
            .map_err(|error| self.io("written", error))?;
        let beside = self.write_beside(&path, keys)?;
        if let Err(error) = std::fs::rename(&beside, &path) {
            let _ = std::fs::remove_file(&beside);
            return Err(self.io("written", error));
        }
        match path.parent() {
            Some(folder) => self.flush(folder),
            None => Ok(()),
        }
    }

    /// Waits until nobody changes the keys, and keeps it so while the answer is held. A folder that can't be locked is on a
    /// medium where nobody can change them either.
    pub(crate) fn hold(&self, hold: Hold) -> Result<Option<File>, VaultError> {
        let folder = self
            .0
            .canonicalize()
            .ok()
            .and_then(|path| Some(path.parent()?.to_path_buf()))
            .unwrap_or_else(|| self.folder());
        let folder = match File::open(folder) {
            Ok(folder) => folder,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("locked", error)),
        };
        let locked = match hold {
            Hold::Shared => folder.lock_shared(),
            Hold::Alone => folder.lock(),
        };
        match (locked, hold) {
            (Ok(()), _) => Ok(Some(folder)),
            (Err(_), Hold::Shared) => Ok(None),
            (Err(error), Hold::Alone) => Err(self.io("locked", error)),
        }
    }

    fn folder(&self) -> PathBuf {
        let parent = self
            .0
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_path_buf()
    }

    fn write_beside(&self, path: &Path, keys: &Keys) -> Result<PathBuf, VaultError> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{:016x}", u64::from_be_bytes(*random::<8>()?)));
        let beside = PathBuf::from(name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(keys.text().as_bytes())?;
                file.sync_all()
            });
        match written {
            Ok(()) => Ok(beside),
            Err(error) => {
                let _ = std::fs::remove_file(&beside);
                Err(self.io("written", error))
            }
        }
    }

    fn flush(&self, folder: &Path) -> Result<(), VaultError> {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.io("written", error))
    }

    fn io(&self, doing: &'static str, source: std::io::Error) -> VaultError {
        let path = self.0.clone();
        VaultError::Io {
            path,
            doing,
            source,
        }
    }

    pub(crate) fn fault(&self, fault: String) -> VaultError {
        let path = self.0.clone();
        VaultError::KeyFile { path, fault }
    }
}

#[cfg(test)]
mod tests;
