//! Secrets that are no credentials, under the same keys. Whoever asks keeps the sealed bytes, and no rotation finds them: a key that
//! sealed some has to stay in the key file, or they are sealed anew by who keeps them.

use etl_core::model::CredentialId;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::envelope::{self, Place};
use crate::error::VaultError;
use crate::keyring::Keyring;
use crate::vault::Vault;

impl Vault {
    /// Seals a secret of somebody for a purpose, which is a constant of the program. It opens for both together alone.
    ///
    /// # Errors
    /// `NoKey` if there is none to seal with; what is wrong with the key file.
    pub async fn seal_for(
        &self,
        purpose: &'static str,
        owner: Uuid,
        secret: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        let key = self.on_disk(Keyring::sealing).await?;
        envelope::seal(&key, place(purpose, owner), secret)
    }

    /// Opens what was sealed for this purpose and owner.
    ///
    /// # Errors
    /// `KeyMissing` if the key is not at hand, `Shut` if it is and does not open it.
    pub async fn open_for(
        &self,
        purpose: &'static str,
        owner: Uuid,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let header = envelope::header(sealed).map_err(|_| VaultError::Shut { purpose })?;
        let Some(key) = self.find(header).await? else {
            return Err(self.missing(header.key, 1).await?);
        };
        envelope::open(&key, place(purpose, owner), sealed)
            .map_err(|_| VaultError::Shut { purpose })
    }
}

/// A place that no credential has: theirs have a namespace and a version from 1.
fn place(purpose: &'static str, owner: Uuid) -> Place<'static> {
    Place {
        id: CredentialId(owner),
        namespace: "",
        name: purpose,
        connector_type: "",
        version: 0,
    }
}
