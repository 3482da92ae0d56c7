//! Figures of what the store remembers, for those who look after a deployment.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{JobFigures, PipelineId, StepFigures, Timestamp};

/// Counts what is there. Only reads.
///
/// # Contract
/// Between the store and who shows figures. Conformance: `etl_core::store_conformance!`. What a figure costs MUST follow what it
/// counts, and not what else the store remembers.
#[async_trait]
pub trait Figures: Send + Sync + Debug + 'static {
    /// How many jobs are `pending` or `queued`. It counts to `most` and no further.
    async fn backlog(&self, most: u64) -> Result<u64>;

    /// What became of the jobs that were accepted at `from` or later, of one pipeline or of all.
    async fn job_figures(
        &self,
        pipeline: Option<PipelineId>,
        from: Timestamp,
    ) -> Result<JobFigures>;

    /// What became of the step executions of a connector, items of a fan-out among them, in jobs that were accepted at `from` or
    /// later. A step counts for the connector that its pipeline's current version gives it; one that it does not have counts for
    /// none.
    async fn step_figures(&self, connector: &str, from: Timestamp) -> Result<StepFigures>;
}
