//! Secrets that are no credentials, under the same keys. Whoever asks keeps the sealed bytes, and shows them to rotations.

use std::fmt::Debug;

use async_trait::async_trait;
use etl_core::contract::store::Result as StoreResult;
use etl_core::model::{CredentialId, Page, PageRequest};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::envelope::{self, Place};
use crate::error::VaultError;
use crate::key::Key;
use crate::keyring::Keyring;
use crate::vault::Vault;

/// Keeps what [`Vault::seal_for`] sealed.
///
/// # Contract
/// Between a vault and who keeps secrets that it sealed. A rotation goes through all of them, and no key is dropped that one of them
/// needs: one that is kept and not shown can't be opened after it.
#[async_trait]
pub trait Keeper: Debug + Send + Sync + 'static {
    /// A part of them. Those that are there all the time are in exactly one part.
    async fn kept(&self, page: &PageRequest) -> StoreResult<Page<Kept>>;

    /// Keeps the same secret sealed anew. Whether it was still sealed as it was shown.
    async fn keep(&self, kept: &Kept, sealed: Vec<u8>) -> StoreResult<bool>;
}

/// A secret that somebody keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it was sealed for.
    pub purpose: &'static str,
    /// Whose it is.
    pub owner: Uuid,
    /// What people know it by.
    pub name: String,
    /// As it is sealed.
    pub sealed: Vec<u8>,
}

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

    /// Sees that what somebody keeps opens with the key, sealing it anew if it has another. Whether it had.
    pub(crate) async fn reseal_kept(&self, key: &Key, kept: &Kept) -> Result<bool, VaultError> {
        let opened = self.open_for(kept.purpose, kept.owner, &kept.sealed).await;
        let secret = match opened {
            Ok(secret) => secret,
            Err(VaultError::Shut { .. } | VaultError::KeyMissing { .. }) => {
                return Err(damaged(kept));
            }
            Err(other) => return Err(other),
        };
        if envelope::header(&kept.sealed).is_ok_and(|header| header.key == key.id()) {
            return Ok(false);
        }
        let sealed = envelope::seal(key, place(kept.purpose, kept.owner), &secret)?;
        if let Some(keeper) = &self.keeper {
            // If it was changed meanwhile, the next pass finds what is there.
            keeper.keep(kept, sealed).await?;
        }
        Ok(true)
    }
}

fn damaged(kept: &Kept) -> VaultError {
    let header = envelope::header(&kept.sealed);
    VaultError::Damaged {
        namespace: kept.purpose.into(),
        name: kept.name.clone(),
        key_id: header.map_or_else(|_| String::new(), |header| header.key.to_string()),
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
