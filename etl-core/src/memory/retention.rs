//! The end of jobs.

use std::ops::Bound;
use std::time::Duration;

use async_trait::async_trait;

use super::journal::{job_key, no_cursor};
use super::{MemoryStore, State, page_limit};
use crate::contract::store::{Result, RetentionStore};
use crate::model::{Cursor, JobId, Page, PageRequest};

impl State {
    fn may_be_forgotten(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|job| {
            job.status.is_terminal()
                && job.open_hooks.is_empty()
                && !self.repeated.contains_key(&id)
        })
    }

    /// A job that has ended is in no index but these.
    fn forget(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        self.history.remove(&(job.created_at, id));
        if let Some(ended_at) = job.completed_at {
            self.unarchived.remove(&(ended_at, id));
        }
        if let Some(key) = &job.idempotency_key {
            self.keys.remove(key);
        }
        if let Some(repeated) = job.retry_of
            && let Some(by) = self.repeated.get_mut(&repeated)
        {
            by.remove(&id);
            if by.is_empty() {
                self.repeated.remove(&repeated);
            }
        }
    }
}

#[async_trait]
impl RetentionStore for MemoryStore {
    async fn expired_jobs(&self, older_than: Duration, page: &PageRequest) -> Result<Page<JobId>> {
        let (state, now) = self.lock();
        let until = now - older_than;
        let after = match &page.cursor {
            None => Bound::Unbounded,
            Some(cursor) => {
                Bound::Excluded(job_key(cursor).ok_or_else(|| no_cursor("expired_jobs"))?)
            }
        };
        let limit = page_limit(page);
        let mut found: Vec<_> = state
            .history
            .range((after, Bound::Unbounded))
            .take_while(|(created_at, _)| *created_at <= until)
            .filter(|(_, id)| {
                let ended_at = state.jobs.get(id).and_then(|job| job.completed_at);
                ended_at.is_some_and(|at| at <= until) && state.may_be_forgotten(*id)
            })
            .take(limit + 1)
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found
            .last()
            .filter(|_| more)
            .map(|(at, id)| Cursor(format!("{}.{id}", at.as_micros())));
        Ok(Page {
            items: found.into_iter().map(|(_, id)| *id).collect(),
            next_cursor,
        })
    }

    async fn forget_jobs(&self, jobs: &[JobId]) -> Result<u64> {
        let (mut state, _) = self.lock();
        let mut forgotten = 0;
        for &job in jobs {
            if state.may_be_forgotten(job) {
                state.forget(job);
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    async fn unarchived_logs(&self, older_than: Duration, limit: usize) -> Result<Vec<JobId>> {
        let (state, now) = self.lock();
        let until = now - older_than;
        let ended = state.unarchived.iter();
        let old = ended.take_while(|(ended_at, _)| *ended_at <= until);
        Ok(old.take(limit).map(|(_, job)| *job).collect())
    }

    async fn log_archived(&self, job: JobId, _error: Option<&str>) -> Result<()> {
        let (mut state, _) = self.lock();
        let ended_at = state.jobs.get(&job).and_then(|job| job.completed_at);
        if let Some(ended_at) = ended_at {
            state.unarchived.remove(&(ended_at, job));
        }
        Ok(())
    }
}
