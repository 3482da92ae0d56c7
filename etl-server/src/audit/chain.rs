//! What the chain is made of: each place has a MAC over the place before it and its row, by a key that the database does not know.

use etl_core::model::{AuditRecord, Seal, SealedRecord};
use etl_vault::{Vault, VaultError};
use ring::hmac::{self, HMAC_SHA256};
use serde_json::{Map, Value};

/// What the derived keys are for.
const PURPOSE: &str = "audit-chain";

/// Before the first place.
pub(super) const START: Seal = Seal {
    seq: 0,
    mac: [0; 32],
};

/// The keys of the chain: one signs, and those of earlier master keys are still known.
#[derive(Debug)]
pub(super) struct Keys(Vec<hmac::Key>);

impl Keys {
    /// Derived from the vault's key file.
    ///
    /// # Errors
    /// What is wrong with the file; `NoSharedKey` if the vault has a passphrase in its place.
    pub(super) async fn of(vault: &Vault) -> Result<Self, VaultError> {
        let derived = vault.derived_keys(PURPOSE).await?;
        Ok(Self::new(derived.iter().map(|key| key.bytes().as_slice())))
    }

    /// The first one signs.
    pub(super) fn new<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let keys = keys.into_iter();
        Self(keys.map(|key| hmac::Key::new(HMAC_SHA256, key)).collect())
    }

    pub(super) fn current(&self) -> &hmac::Key {
        self.0
            .first()
            .unwrap_or_else(|| unreachable!("a vault derives a key at least of its current one"))
    }

    /// Whether one of them made this MAC.
    pub(super) fn made(&self, mac: &[u8; 32], bytes: &[u8]) -> bool {
        self.0
            .iter()
            .any(|key| hmac::verify(key, bytes, mac).is_ok())
    }
}

/// The place after `last`, for this row.
pub(super) fn next(key: &hmac::Key, last: Seal, row: &AuditRecord) -> serde_json::Result<Seal> {
    let seq = last.seq + 1;
    let mac = sign(key, &bytes(&last.mac, seq, row)?);
    Ok(Seal { seq, mac })
}

/// Whether this row has the place after `last`.
pub(super) fn follows(keys: &Keys, last: Seal, row: &SealedRecord) -> serde_json::Result<bool> {
    let seq = last.seq + 1;
    let bytes = bytes(&last.mac, seq, &row.record)?;
    Ok(row.seal.seq == seq && keys.made(&row.seal.mac, &bytes))
}

pub(super) fn sign(key: &hmac::Key, bytes: &[u8]) -> [u8; 32] {
    let mut mac = [0; 32];
    let tag = hmac::sign(key, bytes);
    for (to, from) in mac.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    mac
}

/// What a MAC is over: the one before, the place, and the row as JSON with its keys in order, which no database changes.
fn bytes(before: &[u8; 32], seq: u64, row: &AuditRecord) -> serde_json::Result<Vec<u8>> {
    let mut bytes = b"etl audit chain, version 1\0".to_vec();
    bytes.extend(before);
    bytes.extend(seq.to_be_bytes());
    serde_json::to_writer(&mut bytes, &in_order(serde_json::to_value(row)?))?;
    Ok(bytes)
}

fn in_order(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.into_iter().collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            let entries = entries.into_iter();
            Value::Object(
                entries
                    .map(|(key, value)| (key, in_order(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(in_order).collect()),
        plain => plain,
    }
}
