//! Log lines, and all reading.

use std::ops::Bound;

use async_trait::async_trait;

use super::row::JobRow;
use super::{MemoryStore, page_limit};
use crate::contract::store::{Journal, Result, StoreError, StoreErrorKind};
use crate::model::{
    Cursor, DeadLetter, HookRow, JobFilter, JobId, JobRecord, LogLine, Page, PageRequest, StepKey,
    StepRecord, Timestamp,
};

#[async_trait]
impl Journal for MemoryStore {
    async fn append(&self, lines: &[LogLine]) -> Result<()> {
        let (mut state, _) = self.lock();
        for line in lines {
            if let Some(job) = state.jobs.get_mut(&line.job_id) {
                job.tell(line.clone());
            }
        }
        Ok(())
    }

    async fn lines(&self, job: JobId, after_seq: u64, limit: usize) -> Result<Vec<LogLine>> {
        let (state, _) = self.lock();
        let after = usize::try_from(after_seq).unwrap_or(usize::MAX);
        let log = state.jobs.get(&job).and_then(|job| job.log.get(after..));
        let log = log.unwrap_or_default();
        Ok(log[..log.len().min(limit)].to_vec())
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>> {
        let (state, _) = self.lock();
        Ok(state.jobs.get(&job).map(JobRow::record))
    }

    async fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobRecord>> {
        let (state, _) = self.lock();
        let before = match &page.cursor {
            None => Bound::Unbounded,
            Some(cursor) => Bound::Excluded(job_key(cursor).ok_or_else(|| no_cursor("jobs"))?),
        };
        let from = filter.created_from.map_or(Bound::Unbounded, |from| {
            Bound::Included((from, JobId(uuid::Uuid::nil())))
        });
        if let (Bound::Included(from), Bound::Excluded(before)) = (&from, &before)
            && from >= before
        {
            return Ok(Page {
                items: Vec::new(),
                next_cursor: None,
            });
        }
        let limit = page_limit(page);
        let mut items: Vec<JobRecord> = state
            .history
            .range((from, before))
            .rev()
            .filter_map(|(_, id)| state.jobs.get(id))
            .filter(|job| fits(filter, job))
            .take(limit + 1)
            .map(JobRow::record)
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items
            .last()
            .filter(|_| more)
            .map(|last| Cursor(format!("{}.{}", last.created_at.as_micros(), last.id)));
        Ok(Page { items, next_cursor })
    }

    async fn steps(&self, job: JobId, page: &PageRequest) -> Result<Page<StepRecord>> {
        let (state, _) = self.lock();
        let start = match &page.cursor {
            None => StepKey::step(0),
            Some(cursor) => step_after(cursor).ok_or_else(|| no_cursor("steps"))?,
        };
        let limit = page_limit(page);
        let mut items: Vec<StepRecord> = state.jobs.get(&job).map_or_else(Vec::new, |job| {
            job.rows_from(start)
                .take(limit + 1)
                .map(|(key, row)| job.step_record(key, row))
                .collect()
        });
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items
            .last()
            .filter(|_| more)
            .map(|last| match last.item_index {
                None => Cursor(last.order_index.to_string()),
                Some(item) => Cursor(format!("{}.{item}", last.order_index)),
            });
        Ok(Page { items, next_cursor })
    }

    async fn dead_letters(&self, job: JobId) -> Result<Vec<DeadLetter>> {
        let (state, _) = self.lock();
        let job = state.jobs.get(&job);
        let letters = job.map(|job| job.letters.values());
        let letters = letters.into_iter().flatten();
        Ok(letters.map(|buried| buried.letter.clone()).collect())
    }

    async fn hooks(&self, job: JobId) -> Result<Vec<HookRow>> {
        let (state, _) = self.lock();
        let job = state.jobs.get(&job);
        Ok(job.map_or_else(Vec::new, |job| job.hooks.values().cloned().collect()))
    }
}

pub(super) fn no_cursor(op: &'static str) -> StoreError {
    StoreError::new(op, StoreErrorKind::NotFound)
}

pub(super) fn job_key(cursor: &Cursor) -> Option<(Timestamp, JobId)> {
    let (micros, id) = cursor.0.split_once('.')?;
    Some((
        Timestamp::from_micros(micros.parse().ok()?),
        id.parse().ok()?,
    ))
}

/// The first key that may follow the last one of a page.
fn step_after(cursor: &Cursor) -> Option<StepKey> {
    Some(match cursor.0.split_once('.') {
        None => StepKey::item(cursor.0.parse().ok()?, 0),
        Some((step, item)) => {
            let item: u32 = item.parse().ok()?;
            StepKey::item(step.parse().ok()?, item.checked_add(1)?)
        }
    })
}

fn fits(filter: &JobFilter, job: &JobRow) -> bool {
    let JobFilter {
        status,
        pipeline,
        trigger_type,
        created_from,
        created_to,
    } = filter;
    (status.is_empty() || status.contains(&job.status))
        && pipeline
            .as_ref()
            .is_none_or(|name| *job.pipeline.name == **name)
        && trigger_type.is_none_or(|wanted| job.trigger_type == wanted)
        && created_from.is_none_or(|from| job.created_at >= from)
        && created_to.is_none_or(|to| job.created_at < to)
}
