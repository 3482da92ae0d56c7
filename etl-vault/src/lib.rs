//! The vault: credentials are sealed before a store sees them, and opened just before an attempt starts.
//!
//! Each version of a credential is encrypted with a key of its own (AES-256-GCM), and that key with a master key: a file of
//! keys, or one derived from a passphrase (PBKDF2-HMAC-SHA256). What is sealed says which master key opens it, and is bound to
//! its place: moved to another name, namespace, connector or version it does not open. [`Vault::rotate`] changes the master
//! key while jobs use the vault, and goes on where it was killed.
//!
//! [`Vault::derived_keys`] gives secrets for other purposes that all processes with the key file share. [`Vault::seal_for`] seals
//! secrets that are no credentials and that others keep.
//!
//! Secrets are wiped from memory when they are dropped, and `Debug` shows none.

mod derived;
mod envelope;
mod error;
mod file;
mod key;
mod keyring;
mod rotate;
mod sealed;
#[cfg(test)]
mod tests;
mod vault;

pub use derived::{DerivedKey, Standing};
pub use error::VaultError;
pub use key::{KeyId, Passphrase};
pub use keyring::KeySource;
pub use rotate::{Damaged, OldKeys, Rotation};
pub use sealed::{Keeper, Kept};
pub use vault::Vault;
