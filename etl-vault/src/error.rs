//! Why the vault refuses, by what a person can do about it.

use std::io;
use std::path::PathBuf;

use etl_core::contract::StoreError;

use crate::key::KeyId;

/// The vault can't do what was asked. No variant has a secret in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// Credentials are sealed with a key that is not at hand: give that key, or remove the credentials.
    #[error(
        "{credentials} stored credential(s) are sealed with the key {key_id}, which is not at hand; {at_hand}"
    )]
    KeyMissing {
        /// The key that opens them.
        key_id: KeyId,
        /// How many they are.
        credentials: usize,
        /// Which keys there are instead, in words.
        at_hand: String,
    },
    /// There is no key to seal with: make a key file, or set a passphrase.
    #[error("there is no key to seal credentials with: no file {} and no passphrase", .0.display())]
    NoKey(PathBuf),
    /// A passphrase seals, and secrets that all processes share come from a key file alone: make a key file, and rotate to it.
    #[error("secrets that processes share come from a key file, and this vault has a passphrase")]
    NoSharedKey,
    /// The key file is readable by others: `chmod 600` it.
    #[error("the key file {} can be read by others (mode {mode:04o}); it has to be 0600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key file has something else in it than keys.
    #[error("the key file {} can't be used: {fault}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        fault: String,
    },
    /// The key file can't be read or written.
    #[error("the key file {} can't be {doing}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What was to be stored is not a credential: say it otherwise.
    #[error("{0}")]
    Invalid(String),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] getrandom::Error),
    /// A credential does not open although its key is at hand: it was damaged, or moved to another place.
    #[error(
        "the credential {namespace}/{name} does not open with its key {key_id}: it was damaged or moved"
    )]
    Damaged {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key that it names.
        key_id: String,
    },
    /// The credential is at another version than the one that was looked at: read it again.
    #[error("the credential is at version {version} now")]
    Stale {
        /// Which; 0 if there is none.
        version: u64,
    },
    /// What was sealed for this does not open although its key is at hand: it was damaged, or is somebody else's.
    #[error("what was sealed for {purpose} does not open with its key: it was damaged or moved")]
    Shut {
        /// What it was asked for.
        purpose: &'static str,
    },
    /// Others changed the credential again and again: try again.
    #[error("others change the same credential at the same time")]
    Contended,
    /// The keys were changed by another rotation while this one ran: start it again.
    #[error("another rotation changed the keys meanwhile; run it again")]
    Overtaken,
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}
