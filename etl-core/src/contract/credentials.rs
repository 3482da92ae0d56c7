//! Where a step's credential comes from.

use std::fmt::Debug;

use async_trait::async_trait;
use serde_json::Value;

/// Opens stored credentials by name.
///
/// # Contract
/// Between the launcher, which asks just before an attempt starts, and a vault. What it gives MUST NOT be logged, stored
/// or put into an error by anyone.
#[async_trait]
pub trait Credentials: Debug + Send + Sync + 'static {
    /// The decrypted credential.
    async fn open(&self, namespace: &str, name: &str) -> Result<Value, CredentialError>;
}

/// Why a credential can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// There is none of this name.
    #[error("there is no credential {0:?}; store it first")]
    Missing(String),
    /// The vault can't be asked now.
    #[error("the credential vault can't be reached")]
    Unavailable(#[source] crate::model::BoxError),
    /// It is there and does not open: the wrong key, or damage.
    #[error("the credential {0:?} can't be opened with the keys at hand")]
    Sealed(String),
}

/// A vault without credentials.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCredentials;

#[async_trait]
impl Credentials for NoCredentials {
    async fn open(&self, _namespace: &str, name: &str) -> Result<Value, CredentialError> {
        Err(CredentialError::Missing(name.into()))
    }
}
