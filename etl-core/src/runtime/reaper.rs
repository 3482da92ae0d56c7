//! Hands the jobs of dead workers back. Any number of reapers may run: the guard is in the store.

use std::sync::Arc;

use crate::contract::store::{JobStore, ReapRequest, Result};
use crate::model::JobId;

/// The most jobs in one sweep.
const SWEEP: usize = 256;

/// Looks for leases that ran out.
#[derive(Debug, Clone)]
pub struct Reaper {
    store: Arc<dyn JobStore>,
}

impl Reaper {
    /// For this store.
    pub fn new(store: Arc<dyn JobStore>) -> Self {
        Self { store }
    }

    /// One sweep. Answers the jobs that were taken from their owners.
    ///
    /// # Errors
    /// If the store can't be reached.
    pub async fn tick(&self) -> Result<Vec<JobId>> {
        let reaped = self
            .store
            .reap(ReapRequest {
                job: None,
                limit: SWEEP,
            })
            .await?;
        for job_id in &reaped {
            tracing::warn!(%job_id, "lease ran out, the job was taken from its worker");
        }
        Ok(reaped)
    }
}
