//! Goes along the chain and says where it does not hold.

use std::sync::Arc;

use etl_core::artifact::ArtifactStorage;
use etl_core::contract::store::AuditLog;
use etl_core::model::{Seal, SealedRecord};
use etl_vault::Vault;
use serde::Serialize;

use super::chain::{Keys, START, follows};
use super::checkpoint::{Checkpoint, Found};
use super::{ChainError, ROWS};

/// How many faults are told; the rest follows from them.
const FAULTS: usize = 20;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// Rows that have a place in the chain.
    pub(crate) rows: u64,
    /// Notes of what the chain came to.
    pub(crate) checkpoints: usize,
    /// Rows that have no place yet: a server gives them one within seconds.
    pub(crate) unsealed: usize,
    /// Where it does not hold. Nothing: nobody changed anything.
    pub(crate) faults: Vec<String>,
}

/// Goes along the whole chain.
///
/// # Errors
/// If the store, the key file or the storage can't be read. That something was changed is no error.
pub(crate) async fn verify(
    audit: &Arc<dyn AuditLog>,
    vault: &Vault,
    storage: &ArtifactStorage,
) -> Result<Verified, ChainError> {
    let keys = Keys::of(vault).await?;
    let found = Checkpoint::all(storage).await?;
    let mut walk = Walk::new(keys, found);
    loop {
        let rows = audit.sealed(walk.last.seq, ROWS).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            walk.step(row)?;
        }
        if walk.is_lost {
            break;
        }
    }
    let mut verified = walk.end();
    verified.unsealed = audit.unsealed(ROWS).await?.len();
    Ok(verified)
}

/// How far somebody is along the chain.
pub(super) struct Walk {
    keys: Keys,
    /// Those that are still to come, the next one last.
    ahead: Vec<Checkpoint>,
    last: Seal,
    /// A place was met twice, so that there is no way on.
    is_lost: bool,
    verified: Verified,
}

impl Walk {
    pub(super) fn new(keys: Keys, found: Found) -> Self {
        let mut walk = Self {
            keys,
            ahead: Vec::new(),
            last: START,
            is_lost: false,
            verified: Verified {
                checkpoints: found.checkpoints.len(),
                ..Verified::default()
            },
        };
        for name in found.unreadable {
            walk.fault(format!("the checkpoint {name} can't be read"));
        }
        for checkpoint in found.checkpoints {
            if checkpoint.is_signed(&walk.keys) {
                walk.ahead.push(checkpoint);
            } else {
                let seq = checkpoint.seq;
                walk.fault(format!(
                    "the checkpoint at place {seq} has another signature"
                ));
            }
        }
        walk.ahead.reverse();
        walk
    }

    fn fault(&mut self, fault: String) {
        if self.verified.faults.len() < FAULTS {
            self.verified.faults.push(fault);
        }
    }

    pub(super) fn step(&mut self, row: &SealedRecord) -> Result<(), ChainError> {
        let (seq, id) = (row.seal.seq, row.record.id);
        self.verified.rows += 1;
        if seq <= self.last.seq {
            self.is_lost = true;
            self.fault(format!("place {seq} is there twice: row {id}"));
            return Ok(());
        }
        if seq > self.last.seq + 1 {
            let (from, to) = (self.last.seq + 1, seq - 1);
            self.fault(format!(
                "places {from} to {to} are missing: rows were removed"
            ));
        } else if !follows(&self.keys, self.last, row)? {
            self.fault(format!(
                "row {id} at place {seq} is not what was sealed there"
            ));
        }
        self.last = row.seal;
        while let Some(next) = self.ahead.last().filter(|next| next.seq <= seq) {
            let is_of = next.is_of(row.seal);
            if !is_of {
                let at = next.seq;
                self.fault(format!(
                    "the chain comes to something else than the checkpoint at place {at}"
                ));
            }
            self.ahead.pop();
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> Verified {
        if let Some(last) = self.ahead.first().map(|last| last.seq) {
            let end = self.last.seq;
            self.fault(format!("the chain ends at place {end}, and it came to place {last} before: rows were removed from its end"));
        }
        self.verified
    }
}
