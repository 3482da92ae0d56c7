//! Schedules: rows that follow the catalog, the order in which they are due, and the fires that were decided.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use async_trait::async_trait;

use super::{MemoryStore, State, page_limit};
use crate::contract::store::{
    Due, Fire, FireOutcome, Fired, Result, ScheduleStore, StoreError, StoreErrorKind,
    StoredPipeline, Submitted, audited,
};
use crate::model::{
    Cursor, FireRecord, NextFire, Page, PageRequest, PipelineId, Schedule, Timestamp,
};
use crate::schedule::next_start;

#[derive(Default)]
pub(super) struct Schedules {
    /// Rows stay when a schedule goes: `rev` must not begin anew.
    rows: HashMap<PipelineId, Row>,
    /// By when the job of the next fire is made.
    due: BTreeSet<(Timestamp, PipelineId)>,
    fires: BTreeMap<(PipelineId, Timestamp), FireRecord>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    is_there: bool,
    rev: u64,
    is_paused: bool,
    next: Option<NextFire>,
    last_fire_at: Option<Timestamp>,
}

impl Schedules {
    /// What a new version of a pipeline makes of its schedule.
    pub(super) fn follow(
        &mut self,
        before: Option<&StoredPipeline>,
        after: &StoredPipeline,
        now: Timestamp,
    ) {
        let id = after.reference.id;
        if !after.document.has_schedule() {
            self.take_away(id);
            return;
        }
        let mut row = self.rows.get(&id).copied().unwrap_or_default();
        let is_same = before.is_some_and(|before| before.document.has_schedule_of(&after.document));
        row.is_paused &= row.is_there;
        if !(row.is_there && is_same) {
            let next = next_start(&after.document, id, now);
            row.next = next.filter(|_| !row.is_paused);
        }
        row.is_there = true;
        self.write(id, row);
    }

    /// The schedule goes, with its pipeline or with a version that has none.
    pub(super) fn take_away(&mut self, id: PipelineId) {
        if let Some(row) = self.rows.get(&id).copied() {
            let gone = Row {
                is_there: false,
                is_paused: false,
                next: None,
                ..row
            };
            self.write(id, gone);
        }
    }

    /// Writes a row under the next `rev`.
    fn write(&mut self, id: PipelineId, row: Row) {
        if let Some(next) = self.rows.get(&id).and_then(|old| old.next) {
            self.due.remove(&(next.starts_at, id));
        }
        self.due.extend(row.next.map(|next| (next.starts_at, id)));
        let rev = row.rev + 1;
        self.rows.insert(id, Row { rev, ..row });
    }

    fn there(&self, id: PipelineId) -> Option<Row> {
        self.rows.get(&id).copied().filter(|row| row.is_there)
    }

    fn change(
        &mut self,
        op: &'static str,
        id: PipelineId,
        change: impl FnOnce(&mut Row) -> bool,
    ) -> Result<()> {
        let row = self.there(id);
        let mut row = row.ok_or_else(|| StoreError::new(op, StoreErrorKind::NotFound))?;
        if change(&mut row) {
            self.write(id, row);
        }
        Ok(())
    }
}

impl State {
    fn schedule(&self, id: PipelineId) -> Option<Schedule> {
        let row = self.schedules.there(id)?;
        let stored = self.pipelines.current_of(id)?;
        Some(Schedule {
            pipeline: stored.reference.clone(),
            document: stored.document.clone(),
            rev: row.rev,
            is_paused: row.is_paused,
            next_fire_at: row.next.map(|next| next.at),
            next_start_at: row.next.map(|next| next.starts_at),
            last_fire_at: row.last_fire_at,
        })
    }

    fn fire(&mut self, fire: Fire, now: Timestamp) -> Result<Fired> {
        let id = fire.schedule;
        let row = self.schedules.there(id).filter(|row| row.rev == fire.rev);
        let Some(mut row) = row else {
            return Ok(Fired::Lost);
        };
        row.next = fire.next;
        let key = (id, fire.nominal);
        if self.schedules.fires.contains_key(&key) {
            self.schedules.write(id, row);
            return Ok(Fired::Known);
        }
        let (fired, job_id, reason) = match fire.outcome {
            FireOutcome::Skipped(reason) => (Fired::Fired, None, Some(reason)),
            FireOutcome::Job(job) => match self.submit(*job, now)? {
                Submitted::New(job) => {
                    row.last_fire_at = Some(fire.nominal);
                    (Fired::Fired, Some(job), None)
                }
                Submitted::Existing(job) | Submitted::KeyTaken(job) => {
                    (Fired::Known, Some(job), None)
                }
            },
        };
        let record = FireRecord {
            nominal: fire.nominal,
            job_id,
            reason,
            created_at: now,
        };
        self.schedules.fires.insert(key, record);
        self.schedules.write(id, row);
        Ok(fired)
    }
}

#[async_trait]
impl ScheduleStore for MemoryStore {
    async fn due(&self, limit: usize) -> Result<Due> {
        let (state, now) = self.lock();
        let due = state.schedules.due.iter();
        let due = due.take_while(|(start, _)| *start <= now).take(limit);
        let schedules = due.filter_map(|(_, id)| state.schedule(*id)).collect();
        Ok(Due { now, schedules })
    }

    async fn fire(&self, fire: Fire) -> Result<Fired> {
        let (mut state, now) = self.lock();
        state.fire(fire, now)
    }

    async fn pause(&self, schedule: PipelineId) -> Result<()> {
        let (mut state, now) = self.lock();
        state.schedules.change("pause", schedule, |row| {
            row.next = None;
            !std::mem::replace(&mut row.is_paused, true)
        })?;
        state.note(|| Some(audited::schedule_steered(schedule, true)), now);
        Ok(())
    }

    async fn resume(&self, schedule: PipelineId) -> Result<()> {
        let (mut state, now) = self.lock();
        let stored = state.pipelines.current_of(schedule);
        let next = stored.and_then(|stored| next_start(&stored.document, schedule, now));
        state.schedules.change("resume", schedule, |row| {
            row.next = next;
            std::mem::replace(&mut row.is_paused, false)
        })?;
        state.note(|| Some(audited::schedule_steered(schedule, false)), now);
        Ok(())
    }

    async fn schedule(&self, schedule: PipelineId) -> Result<Option<Schedule>> {
        let (state, _) = self.lock();
        Ok(state.schedule(schedule))
    }

    async fn schedules(&self, page: &PageRequest) -> Result<Page<Schedule>> {
        let (state, _) = self.lock();
        let after = match &page.cursor {
            None => Bound::Unbounded,
            Some(cursor) => {
                let (namespace, name) = cursor
                    .0
                    .split_once('/')
                    .ok_or_else(|| StoreError::new("schedules", StoreErrorKind::NotFound))?;
                Bound::Excluded((namespace.to_owned(), name.to_owned()))
            }
        };
        let limit = page_limit(page);
        let mut items: Vec<Schedule> = state
            .pipelines
            .current_after(after)
            .filter_map(|stored| state.schedule(stored.reference.id))
            .take(limit + 1)
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(|last| {
            Cursor(format!(
                "{}/{}",
                last.pipeline.namespace, last.pipeline.name
            ))
        });
        Ok(Page { items, next_cursor })
    }

    async fn fires(&self, schedule: PipelineId, limit: usize) -> Result<Vec<FireRecord>> {
        let (state, _) = self.lock();
        let first = Timestamp::from_micros(i64::MIN);
        let last = Timestamp::from_micros(i64::MAX);
        let fires = state
            .schedules
            .fires
            .range((schedule, first)..=(schedule, last));
        Ok(fires
            .rev()
            .take(limit)
            .map(|(_, fire)| fire.clone())
            .collect())
    }
}
