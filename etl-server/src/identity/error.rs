//! Why somebody was not let in, or something of a user was not changed.

use std::time::Duration;

use etl_core::contract::StoreError;
use etl_vault::VaultError;

use super::password::{Crowded, Unhashed};
use super::secret::NoChance;

/// By what whoever asked can do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// It is not the right password, code or token. Which it was is not told.
    #[error("not let in: {0}")]
    Refused(&'static str),
    /// Nothing is looked at for so long.
    #[error("nothing is looked at for {0:?}")]
    Wait(Duration),
    /// Too much is asked for at once.
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// Something else is there already.
    #[error("{0}")]
    Conflict(&'static str),
    /// A new password can't be taken: why.
    #[error("the password can't be taken: {0}")]
    Password(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    NoChance(#[from] NoChance),
    #[error("the password can't be hashed")]
    Unhashed(#[source] Unhashed),
    /// What is stored of a user can't be used.
    #[error("what is stored of the user can't be used: {0}")]
    Unusable(&'static str),
}

impl From<Unhashed> for IdentityError {
    fn from(error: Unhashed) -> Self {
        match error {
            Unhashed::Crowded(crowded) => crowded.into(),
            failed @ Unhashed::Failed(_) => Self::Unhashed(failed),
        }
    }
}
