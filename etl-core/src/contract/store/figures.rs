//! Figures of what the store remembers, for those who look after a deployment.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::Result;

/// Counts what is there. Only reads.
///
/// # Contract
/// Between the store and who shows figures. Conformance: `etl_core::store_conformance!`. What a figure costs MUST follow what it
/// counts, and not what else the store remembers.
#[async_trait]
pub trait Figures: Send + Sync + Debug + 'static {
    /// How many jobs are `pending` or `queued`. It counts to `most` and no further.
    async fn backlog(&self, most: u64) -> Result<u64>;
}
