//! Dead letters: what failed for good and waits for somebody to decide.

use std::fmt::Debug;

use async_trait::async_trait;
use uuid::Uuid;

use super::error::Result;
use crate::model::{By, JobId, LetterFilter, LetterRecord, Page, PageRequest};

/// Keeps dead letters until they are settled, and after.
///
/// # Contract
/// Between the store and a server, any number of them. Conformance: `etl_core::audit_conformance!`.
///
/// - A letter is open from the commit that buried its step, and is settled once: of many who settle it at the same time, one does.
/// - Requeueing repeats a job and not a step, so that all letters of the job that are open are settled by it.
/// - Letters go when their job is forgotten.
#[async_trait]
pub trait LetterStore: Send + Sync + Debug + 'static {
    /// Letters, newest first. Pages as in [`Journal`](super::Journal).
    async fn letters(
        &self,
        filter: &LetterFilter,
        page: &PageRequest,
    ) -> Result<Page<LetterRecord>>;

    /// A letter. `None` if there is none.
    async fn letter(&self, id: Uuid) -> Result<Option<LetterRecord>>;

    /// Settles a letter. Whether it did: not if there is none, or if it is settled.
    async fn settle_letter(&self, settle: SettleLetter) -> Result<bool>;
}

/// A decision about a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleLetter {
    /// The letter.
    pub id: Uuid,
    /// Who decided.
    pub by: By,
    /// The job that repeats its job; `None` if nothing is to be done about it.
    pub retry: Option<JobId>,
}
