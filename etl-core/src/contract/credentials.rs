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
    /// The decrypted credential of this name, for a step of this connector. One that was stored for another connector is
    /// refused as `Elsewhere` by a vault that knows what its credentials are for.
    async fn open(
        &self,
        namespace: &str,
        name: &str,
        connector_type: &str,
    ) -> Result<Value, CredentialError>;
}

/// Why a credential can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// There is none of this name.
    #[error("there is no credential {0:?}; store it first")]
    Missing(String),
    /// It is for steps of another connector.
    #[error("the credential {name:?} is for {made_for} steps, and this is none")]
    Elsewhere {
        /// Its name.
        name: String,
        /// The connector that it was stored for.
        made_for: String,
    },
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
    async fn open(
        &self,
        _namespace: &str,
        name: &str,
        _connector_type: &str,
    ) -> Result<Value, CredentialError> {
        Err(CredentialError::Missing(name.into()))
    }
}
