//! Hands the jobs of dead workers back. Any number of reapers may run: the guard is in the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::store::{JobStore, ReapRequest, Result};
use crate::model::JobId;

/// The most jobs in one sweep.
const SWEEP: usize = 256;

/// Looks for leases that ran out.
#[derive(Debug)]
pub struct Reaper {
    store: Arc<dyn JobStore>,
    lease: Duration,
    quiet_until: Option<Instant>,
}

impl Reaper {
    /// For this store, whose leases last `lease`.
    pub fn new(store: Arc<dyn JobStore>, lease: Duration) -> Self {
        Self {
            store,
            lease,
            quiet_until: None,
        }
    }

    /// One sweep, over all jobs or one. Answers the jobs that were taken from their owners.
    ///
    /// After the store was away it takes nothing for the length of a lease: live workers could not renew either, and do so
    /// first.
    ///
    /// # Errors
    /// If the store can't be reached.
    pub async fn tick(&mut self, job: Option<JobId>) -> Result<Vec<JobId>> {
        let is_quiet = self.quiet_until.is_some_and(|end| Instant::now() < end);
        let limit = if is_quiet { 0 } else { SWEEP };
        let reaped = self.store.reap(ReapRequest { job, limit }).await;
        if reaped.is_err() {
            self.quiet_until = Some(Instant::now() + self.lease);
        }
        for job_id in reaped.iter().flatten() {
            tracing::warn!(%job_id, "lease ran out, the job was taken from its worker");
        }
        reaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Store;
    use crate::contract::store::{ClaimRequest, PutPipeline};
    use crate::memory::MemoryStore;
    use crate::model::By;
    use crate::testing::build::a_worker;
    use crate::testing::faults::{Fault, Flaky};
    use crate::testing::{TokioClock, a_pipeline, new_job};

    const LEASE: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn after_an_outage_live_workers_renew_before_leases_are_taken() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(TokioClock::default())));
        let put = PutPipeline {
            document: a_pipeline("p").step("a").build(),
            expected_version: None,
            by: By::system(),
        };
        store.put_pipeline(put).await.unwrap();
        let pipeline = store.pipeline("default", "p", None).await.unwrap().unwrap();
        let job = new_job(&pipeline);
        store.submit(job.clone()).await.unwrap();
        let want = ClaimRequest {
            worker: a_worker(),
            jobs: None,
            limit: 1,
            ttl: LEASE,
            tags: Vec::new(),
        };
        store.claim(want).await.unwrap();
        tokio::time::sleep(LEASE).await;

        let flaky = Flaky::by_plan(store, [Fault::Refused]);
        let mut reaper = Reaper::new(Arc::new(flaky), LEASE);
        assert!(reaper.tick(None).await.is_err());
        assert!(reaper.tick(None).await.unwrap().is_empty());
        tokio::time::sleep(LEASE).await;
        assert_eq!(reaper.tick(None).await.unwrap(), [job.id]);
    }
}
