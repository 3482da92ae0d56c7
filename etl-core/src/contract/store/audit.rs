//! The audit log as a store keeps it: written with what it tells of, and never changed.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{
    Actor, AuditEntry, AuditFilter, AuditRecord, Page, PageRequest, Seal, SealedRecord,
};

/// Keeps the audit log.
///
/// # Contract
/// Between the store and a server, any number of them. Conformance: `etl_core::audit_conformance!`.
///
/// - A change that is made [by somebody](crate::contract::acting) MUST be noted in the transaction that makes it: users, sessions,
///   second factors, API keys, credentials, pipelines, pauses, and jobs that are submitted or cancelled. What was refused is no
///   change. [`audited`](super::audited) says what is noted of each.
/// - A row never changes but for its seal, which it gets once.
/// - Sealed rows have the places 1, 2, 3 …: two who seal at the same time MUST NOT give one place twice.
/// - «Now» is the store's own clock.
#[async_trait]
pub trait AuditLog: Send + Sync + Debug + 'static {
    /// Notes something that changed nothing here: somebody was refused, say.
    async fn note(&self, actor: &Actor, entry: AuditEntry) -> Result<()>;

    /// Rows, newest first. Pages as in [`Journal`](super::Journal).
    async fn audit(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditRecord>>;

    /// Rows that have no place in the chain yet, by number; at most `limit`.
    async fn unsealed(&self, limit: usize) -> Result<Vec<AuditRecord>>;

    /// The last seal. `None` before the first.
    async fn head(&self) -> Result<Option<Seal>>;

    /// Gives rows the places after `after` in this order. Whether it did: not if the last seal is another by now, or a row has a
    /// place; then nothing is changed.
    async fn seal(&self, seal: SealAudit) -> Result<bool>;

    /// Rows of the chain after this place, in its order; at most `limit`.
    async fn sealed(&self, after: u64, limit: usize) -> Result<Vec<SealedRecord>>;
}

/// Rows to take into the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealAudit {
    /// The place of the last seal as whoever seals has seen it; 0 if there is none.
    pub after: u64,
    /// The rows by their numbers, each with its MAC.
    pub rows: Vec<(u64, [u8; 32])>,
}
