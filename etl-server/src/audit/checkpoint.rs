//! What the chain came to at a time, signed, in the artifact storage: a chain that was cut off, or made anew from some place on, does
//! not come to it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etl_core::artifact::ArtifactStorage;
use etl_core::model::{Seal, Timestamp};
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::ChainError;
use super::chain::{Keys, sign};

/// One note. As JSON: `{"seq", "mac", "at", "signature"}`, bytes in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    /// The last place.
    pub(super) seq: u64,
    /// Its MAC.
    mac: String,
    at: Timestamp,
    signature: String,
}

impl Checkpoint {
    pub(super) fn new(key: &hmac::Key, head: Seal, at: Timestamp) -> Self {
        let mut checkpoint = Self {
            seq: head.seq,
            mac: STANDARD.encode(head.mac),
            at,
            signature: String::new(),
        };
        checkpoint.signature = STANDARD.encode(sign(key, &checkpoint.bytes()));
        checkpoint
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { seq, mac, at, .. } = self;
        format!("etl audit checkpoint, version 1\0{seq}\0{mac}\0{at}").into_bytes()
    }

    /// Whether somebody with a key of the chain made it.
    pub(super) fn is_signed(&self, keys: &Keys) -> bool {
        let signature = STANDARD.decode(&self.signature);
        let signature = signature.ok().and_then(|bytes| bytes.try_into().ok());
        signature.is_some_and(|signature| keys.made(&signature, &self.bytes()))
    }

    /// Whether the chain comes to it at this place.
    pub(super) fn is_of(&self, seal: Seal) -> bool {
        seal.seq == self.seq && STANDARD.encode(seal.mac) == self.mac
    }

    pub(super) async fn write(&self, storage: &ArtifactStorage) -> Result<(), ChainError> {
        let place = folder(storage).join(format!("{:020}.json", self.seq));
        let text = serde_json::to_vec(self)?;
        storage.store().put(&place, text.into()).await?;
        Ok(())
    }

    /// All that are there by place, and the names of those that can't be read.
    pub(super) async fn all(storage: &ArtifactStorage) -> Result<Found, ChainError> {
        let listed: Vec<_> = storage
            .store()
            .list(Some(&folder(storage)))
            .try_collect()
            .await?;
        let mut found = Found::default();
        for object in listed {
            let bytes = storage.store().get(&object.location).await?;
            match serde_json::from_slice::<Self>(&bytes.bytes().await?) {
                Ok(checkpoint) => found.checkpoints.push(checkpoint),
                Err(_) => found.unreadable.push(object.location.to_string()),
            }
        }
        found.checkpoints.sort_by_key(|checkpoint| checkpoint.seq);
        Ok(found)
    }
}

/// The checkpoints of a storage.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) unreadable: Vec<String>,
}

fn folder(storage: &ArtifactStorage) -> Path {
    storage.audit_checkpoints()
}
