//! The chain over the audit log: rows that are committed get a place in it, and now and then what it comes to is noted in the artifact
//! storage, where whoever can change the database can't change it as well. [`verify()`] finds what was changed since.

mod chain;
mod checkpoint;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use etl_core::artifact::ArtifactStorage;
use etl_core::contract::store::{AuditLog, SealAudit};
use etl_core::contract::{Clock, StoreError};
use etl_core::runtime::SystemClock;
use etl_vault::{Vault, VaultError};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use chain::{Keys, START};
use checkpoint::Checkpoint;
pub(crate) use verify::{Verified, verify};

/// How often rows are looked for.
const EVERY: Duration = Duration::from_secs(1);
/// Rows that are sealed at once.
const ROWS: usize = 1000;
/// How long after a checkpoint the next one is made, and after how many rows at the latest.
const CHECKPOINT_EVERY: Duration = Duration::from_mins(1);
const CHECKPOINT_ROWS: u64 = 1000;

/// Why the chain can't be made or looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainError {
    #[error("the store can't be asked")]
    Store(#[from] StoreError),
    #[error("the chain has no key")]
    Vault(#[from] VaultError),
    #[error("the artifact storage can't be used")]
    Storage(#[from] object_store::Error),
    #[error("a row can't be written as JSON")]
    Row(#[from] serde_json::Error),
}

/// Whether there is a key for the chain: a key file has one, and a passphrase does not.
///
/// # Errors
/// What is wrong with the key file.
pub(crate) async fn has_key(vault: &Vault) -> Result<bool, VaultError> {
    match Keys::of(vault).await {
        Ok(_) => Ok(true),
        Err(VaultError::NoSharedKey) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes rows into the chain. Any number may run: the store gives each place once.
#[derive(Debug)]
pub(crate) struct Sealer {
    audit: Arc<dyn AuditLog>,
    vault: Vault,
    storage: ArtifactStorage,
    /// The place and the time of the last checkpoint that this process made.
    checkpoint: Option<(u64, Instant)>,
}

impl Sealer {
    pub(crate) fn new(audit: Arc<dyn AuditLog>, vault: Vault, storage: ArtifactStorage) -> Self {
        Self {
            audit,
            vault,
            storage,
            checkpoint: None,
        }
    }

    /// Seals until it is aborted. What fails is tried again.
    pub(crate) fn start(mut self) -> JoinHandle<()> {
        tokio::spawn(async move {
            let mut was_told = false;
            loop {
                match self.round().await {
                    Ok(()) => was_told = false,
                    // Not once a second: whoever looks after it has read it.
                    Err(_) if was_told => {}
                    Err(error) => {
                        was_told = true;
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(%error, cause, "the audit log is not sealed, trying again");
                    }
                }
                tokio::time::sleep(EVERY).await;
            }
        })
    }

    /// Seals whatever waits.
    async fn round(&mut self) -> Result<(), ChainError> {
        loop {
            let rows = self.audit.unsealed(ROWS).await?;
            if rows.is_empty() {
                return self.note_if_due(0).await;
            }
            let keys = Keys::of(&self.vault).await?;
            let head = self.audit.head().await?.unwrap_or(START);
            let mut last = head;
            let mut sealed = Vec::with_capacity(rows.len());
            for row in &rows {
                last = chain::next(keys.current(), last, row)?;
                sealed.push((row.id, last.mac));
            }
            let is_all = rows.len() < ROWS;
            // Another process may have been first; the next look tells.
            let seal = SealAudit {
                after: head.seq,
                rows: sealed,
            };
            self.audit.seal(seal).await?;
            self.note_if_due(CHECKPOINT_ROWS).await?;
            if is_all {
                return Ok(());
            }
        }
    }

    /// Notes what the chain comes to, if that is another than the last time: when it is time, or so many rows have come.
    async fn note_if_due(&mut self, rows: u64) -> Result<(), ChainError> {
        let is_time = self
            .checkpoint
            .is_none_or(|(_, made)| made.elapsed() >= CHECKPOINT_EVERY);
        if !is_time && rows == 0 {
            return Ok(());
        }
        let Some(head) = self.audit.head().await? else {
            return Ok(());
        };
        let noted = self.checkpoint.map_or(0, |(seq, _)| seq);
        if head.seq == noted || (!is_time && head.seq < noted + rows) {
            return Ok(());
        }
        let keys = Keys::of(&self.vault).await?;
        let checkpoint = Checkpoint::new(keys.current(), head, SystemClock.now());
        checkpoint.write(&self.storage).await?;
        self.checkpoint = Some((head.seq, Instant::now()));
        Ok(())
    }
}
