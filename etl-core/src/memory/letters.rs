//! Dead letters. They are looked for among all jobs: this store is not for so many that it matters.

use async_trait::async_trait;
use uuid::Uuid;

use super::journal::no_cursor;
use super::row::JobRow;
use super::{MemoryStore, page_limit};
use crate::contract::store::{LetterStore, Result, SettleLetter};
use crate::model::{
    By, Cursor, DeadLetter, JobId, LetterFilter, LetterRecord, LetterStatus, Page, PageRequest,
    Timestamp,
};

/// A dead letter, and what became of it.
pub(super) struct Buried {
    pub(super) letter: DeadLetter,
    created_at: Timestamp,
    settled: Option<(Timestamp, By, Option<JobId>)>,
}

impl Buried {
    pub(super) fn new(letter: DeadLetter, created_at: Timestamp) -> Self {
        Self {
            letter,
            created_at,
            settled: None,
        }
    }

    fn record(&self, job: &JobRow) -> LetterRecord {
        let DeadLetter {
            key,
            step_name,
            attempts,
            error_class,
            error,
        } = self.letter.clone();
        let retry = self.settled.as_ref().and_then(|(_, _, retry)| *retry);
        LetterRecord {
            id: key.execution_id(job.id),
            job_id: job.id,
            pipeline_id: job.pipeline.id,
            namespace: job.pipeline.namespace.clone(),
            pipeline: job.pipeline.name.clone(),
            step_name: step_name.into(),
            order_index: key.step,
            item_index: key.item,
            attempts,
            error_class,
            error_message: error,
            status: match (&self.settled, retry) {
                (None, _) => LetterStatus::Open,
                (Some(_), None) => LetterStatus::Discarded,
                (Some(_), Some(_)) => LetterStatus::Requeued,
            },
            created_at: self.created_at,
            settled_at: self.settled.as_ref().map(|(at, ..)| *at),
            settled_by: self.settled.as_ref().map(|(_, by, _)| by.clone()),
            retry_job_id: retry,
        }
    }
}

#[async_trait]
impl LetterStore for MemoryStore {
    async fn letters(
        &self,
        filter: &LetterFilter,
        page: &PageRequest,
    ) -> Result<Page<LetterRecord>> {
        let before = match &page.cursor {
            None => None,
            Some(cursor) => Some(place_of(cursor).ok_or_else(|| no_cursor("letters"))?),
        };
        let (state, _) = self.lock();
        let all = state
            .jobs
            .values()
            .flat_map(|job| job.letters.values().map(|buried| buried.record(job)));
        let mut items: Vec<_> = all
            .filter(|letter| {
                filter.pipeline.is_none_or(|id| letter.pipeline_id == id)
                    && filter.status.is_none_or(|status| letter.status == status)
                    && before.is_none_or(|before| (letter.created_at, letter.id) < before)
            })
            .collect();
        items.sort_by_key(|letter| std::cmp::Reverse((letter.created_at, letter.id)));
        let limit = page_limit(page);
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more);
        let next_cursor =
            last.map(|last| Cursor(format!("{}.{}", last.created_at.as_micros(), last.id)));
        Ok(Page { items, next_cursor })
    }

    async fn letter(&self, id: Uuid) -> Result<Option<LetterRecord>> {
        let (state, _) = self.lock();
        let mut all = state
            .jobs
            .values()
            .flat_map(|job| job.letters.values().map(move |buried| (job, buried)));
        let found = all.find(|(job, buried)| buried.letter.key.execution_id(job.id) == id);
        Ok(found.map(|(job, buried)| buried.record(job)))
    }

    async fn settle_letter(&self, settle: SettleLetter) -> Result<bool> {
        self.change(settle, |state, settle, now| {
            let is_it = |job: &JobRow, buried: &Buried| {
                buried.settled.is_none() && buried.letter.key.execution_id(job.id) == settle.id
            };
            let job = state
                .jobs
                .values_mut()
                .find(|job| job.letters.values().any(|buried| is_it(job, buried)));
            let Some(job) = job else {
                return Ok(false);
            };
            let id = job.id;
            for buried in job.letters.values_mut() {
                let is_meant =
                    settle.retry.is_some() || buried.letter.key.execution_id(id) == settle.id;
                if is_meant && buried.settled.is_none() {
                    buried.settled = Some((now, settle.by.clone(), settle.retry));
                }
            }
            Ok(true)
        })
    }
}

fn place_of(cursor: &Cursor) -> Option<(Timestamp, Uuid)> {
    let (micros, id) = cursor.0.split_once('.')?;
    let at = Timestamp::from_micros(micros.parse().ok()?);
    Some((at, id.parse().ok()?))
}
