//! Credentials as a store keeps them: sealed, and never anything else.

use std::fmt;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{By, CredentialId, Page, PageRequest, Timestamp};

/// Keeps sealed credentials. It has no key, and can't tell what is in one.
///
/// # Contract
/// Between the store and a vault, several of them at once. Conformance: `etl_core::store_conformance!`.
///
/// - A credential is found by namespace and name. Its versions count up by one, from 1; only the last is kept.
/// - Every write names the version that it makes. It MUST be refused as [`Stale`](CredentialWrite::Stale), changing nothing,
///   unless the version before is the one that is there, under the same id: what another vault stored in between is never
///   written over.
/// - A write that is there already, byte by byte, is [`Written`](CredentialWrite::Written): whoever lost the answer sends it
///   again.
/// - «Now» is the store's own clock.
#[async_trait]
pub trait CredentialStore: Send + Sync + fmt::Debug + 'static {
    /// Writes a version of a credential: version 1 of a name that has none, or the next of the one that is there. Who made it
    /// and when stay as they were with version 1.
    async fn put_credential(&self, put: PutCredential) -> Result<CredentialWrite>;

    /// Puts the same secret under another key: a version like any other, but who looks at the credential sees no change
    /// (`updated_at` stays).
    async fn reseal_credential(&self, reseal: Reseal) -> Result<CredentialWrite>;

    /// Removes a credential. Whether it was there.
    async fn remove_credential(&self, namespace: &str, name: &str) -> Result<bool>;

    /// One credential. `None` if there is none of this name.
    async fn credential(&self, namespace: &str, name: &str) -> Result<Option<SealedCredential>>;

    /// One credential by id. `None` if there is none, or none any more.
    async fn credential_by_id(&self, id: CredentialId) -> Result<Option<SealedCredential>>;

    /// The credentials, by namespace and name (as bytes). Pages as in [`Journal`](super::Journal).
    async fn credentials(&self, page: &PageRequest) -> Result<Page<SealedCredential>>;
}

/// A credential as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCredential {
    /// Its id, the same over all versions.
    pub id: CredentialId,
    /// The namespace of the pipelines that may use it.
    pub namespace: String,
    /// Its name, by which steps ask for it.
    pub name: String,
    /// The connector that it is made for.
    pub connector_type: String,
    /// How often it was sealed.
    pub version: u64,
    /// The id of the key that opens it.
    pub key_id: String,
    /// The secret, sealed.
    pub sealed: Vec<u8>,
    /// Who stored it first.
    pub created_by: By,
    /// When that was.
    pub created_at: Timestamp,
    /// When its secret was last changed.
    pub updated_at: Timestamp,
}

/// Of the sealed bytes it shows how many there are.
impl fmt::Debug for SealedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedCredential")
            .field("id", &self.id)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("connector_type", &self.connector_type)
            .field("version", &self.version)
            .field("key_id", &self.key_id)
            .field("sealed_bytes", &self.sealed.len())
            .finish_non_exhaustive()
    }
}

/// A version of a credential to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutCredential {
    /// Its id; that of the version before, if there is one.
    pub id: CredentialId,
    /// The namespace of the pipelines that may use it.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The connector that it is made for.
    pub connector_type: String,
    /// The version that this is: 1, or one more than the version before.
    pub version: u64,
    /// The id of the key that opens it.
    pub key_id: String,
    /// The secret, sealed.
    pub sealed: Vec<u8>,
    /// Who stores it.
    pub by: By,
}

/// The same secret, sealed anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reseal {
    /// The credential.
    pub id: CredentialId,
    /// The version that this is: one more than that which was opened.
    pub version: u64,
    /// The id of the key that opens it.
    pub key_id: String,
    /// The secret, sealed.
    pub sealed: Vec<u8>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialWrite {
    /// It is true now.
    Written,
    /// The version before is not what is there: read again.
    Stale,
}
