//! Forgets jobs that ended long ago: first what they left in the artifact storage, then the job itself, so that whoever is
//! interrupted in between finds the job again. Any number may run.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::artifact::ArtifactStorage;
use crate::contract::Store;
use crate::contract::store::Result;
use crate::model::{JobId, PageRequest};

/// The most jobs that are looked at before they are forgotten: whether they may be is seen again for each page.
const PAGE: usize = 100;

/// Jobs whose artifacts are removed at the same time.
const AT_ONCE: usize = 8;

/// Looks for jobs that ended long ago, and forgets them.
#[derive(Debug, Clone)]
pub struct Retention {
    store: Arc<dyn Store>,
    storage: ArtifactStorage,
    keep: Duration,
}

impl Retention {
    /// For jobs of this store with their artifacts in this storage, `keep` after their end.
    pub fn new(store: Arc<dyn Store>, storage: ArtifactStorage, keep: Duration) -> Self {
        Self {
            store,
            storage,
            keep,
        }
    }

    /// One round over all jobs that are old enough, oldest first. Answers how many it forgot. A job whose artifacts can't be
    /// removed is kept and found again in the next round.
    ///
    /// # Errors
    /// If the store can't be reached.
    pub async fn tick(&self) -> Result<u64> {
        let mut page = PageRequest::first(PAGE);
        let mut forgotten = 0;
        loop {
            let expired = self.store.expired_jobs(self.keep, &page).await?;
            // A few at a time: a job that somebody repeats meanwhile stays, and should have what it left.
            for jobs in expired.items.chunks(AT_ONCE) {
                let bare = self.without_artifacts(jobs).await;
                forgotten += self.store.forget_jobs(&bare).await?;
                // What an archiver wrote in between: nothing names it any more.
                self.without_artifacts(&bare).await;
            }
            match expired.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => return Ok(forgotten),
            }
        }
    }

    /// Those of the jobs whose artifacts are gone.
    async fn without_artifacts(&self, jobs: &[JobId]) -> Vec<JobId> {
        let removing = jobs.iter().map(|job| self.without_artifact(*job));
        let removed = join_all(removing).await;
        removed.into_iter().flatten().collect()
    }

    async fn without_artifact(&self, job: JobId) -> Option<JobId> {
        match self.storage.remove_job(job).await {
            Ok(()) => Some(job),
            Err(error) => {
                tracing::warn!(%job, %error, "the artifacts of an old job are not removed, so that it is kept");
                None
            }
        }
    }
}
