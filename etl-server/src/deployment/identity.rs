//! Who may sign in to the deployment, and with which keys their tokens are signed.

use std::sync::Arc;

use etl_core::runtime::SystemClock;
use etl_vault::VaultError;

use super::{OpenStore, unreachable, vault};
use crate::config::Config;
use crate::failure::Failure;
use crate::identity::{Identity, IdentityError, Keys, KeysError};

/// Everything that has to do with who asks.
pub(crate) async fn identity(config: &Config, store: &OpenStore) -> Result<Arc<Identity>, Failure> {
    let vault = vault(config, store)?;
    let keys = match Keys::shared(vault.clone()).await {
        // One process has the file: nobody else has to know its keys.
        Err(KeysError::Vault(VaultError::NoSharedKey)) if store.as_postgres().is_none() => {
            Keys::own()
        }
        keys => keys,
    };
    let identity = Identity::new(store.accounts(), vault, keys?, Arc::new(SystemClock));
    Ok(Arc::new(identity))
}

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Vault(error @ (VaultError::NoSharedKey | VaultError::NoKey(_))) => {
                Self::input("the API has no key to sign access tokens with")
                    .because(error)
                    .hint(
                        "make a key file, the same for every machine: `(umask 077; head -c 32 /dev/urandom > FILE)`, and name it by master_key_file; or leave the API to others: --role worker --role scheduler",
                    )
            }
            KeysError::Vault(error) => error.into(),
            other => unreachable("the API has no key to sign access tokens with").because(other),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Store(error) => error.into(),
            IdentityError::Vault(error) => error.into(),
            other => Self::input(other.to_string()),
        }
    }
}
