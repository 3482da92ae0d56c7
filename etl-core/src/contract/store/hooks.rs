//! What is to be done after jobs have ended, and what became of it.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{HookRow, JobId};

/// Keeps the hooks that jobs left until somebody has carried them out.
///
/// # Contract
/// Between the store and finishers, any number of them. Conformance: `etl_core::store_conformance!`.
///
/// A hook waits from the commit that wrote it until it is settled. It is not held by whoever carries it out: two may do so
/// at the same time, so that carrying it out twice MUST be the same as once.
#[async_trait]
pub trait HookStore: Send + Sync + Debug + 'static {
    /// Hooks that start a job of another pipeline and wait, oldest first (by the time of their commit), then by job and position;
    /// at most `limit`. One that can't be read MUST NOT take the place of one that can: it is left out, and looked at again after
    /// a time that grows.
    async fn waiting_hooks(&self, limit: usize) -> Result<Vec<WaitingHook>>;

    /// Settles a hook. One that is settled stays as it is.
    ///
    /// # Errors
    /// `NotFound` if there is no such hook.
    async fn settle_hook(&self, settled: SettledHook) -> Result<()>;
}

/// A hook that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingHook {
    /// The job that left it.
    pub job: JobId,
    /// What to do.
    pub hook: HookRow,
}

/// What became of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledHook {
    /// The job that left it.
    pub job: JobId,
    /// Its position.
    pub position: u32,
    /// Why it can't be carried out; `None` if it was.
    pub error: Option<String>,
}
