//! Schedules: rows that follow the catalog, and fires that become true with their jobs.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{
    Audited, Due, Fire, FireOutcome, Fired, Result as StoreResult, ScheduleStore, Submitted,
    audited,
};
use etl_core::model::{
    AuditEntry, Cursor, FireRecord, JobId, NewJob, NextFire, Page, PageRequest, Pipeline,
    PipelineId, PipelineRef, Schedule, Timestamp,
};
use etl_core::schedule::next_start;
use serde::Serialize;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::catalog::no_such_cursor;
use crate::store::SqliteStore;
use crate::submit;
use crate::writer::Tx;
use etl_store_sql::Answers;
use etl_store_sql::{Columns, PutOff, json, parse_json, time};
use etl_store_sql::{Fault, Result};

/// A wish to pause a schedule or to let it fire again.
#[derive(Debug)]
pub(crate) struct PauseRequest {
    schedule: PipelineId,
    pause: Pause,
}

impl Audited<()> for PauseRequest {
    fn entry(&self, (): &()) -> Option<AuditEntry> {
        let is_paused = self.pause == Pause::Begin;
        Some(audited::schedule_steered(self.schedule, is_paused))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    Begin,
    End,
}

/// A row as far as changes of it are concerned.
#[derive(Debug, Clone, Copy)]
struct State {
    is_there: bool,
    is_paused: bool,
}

/// What a fire makes of a schedule's row.
#[derive(Debug, Serialize)]
struct Move {
    schedule: PipelineId,
    rev: u64,
    next: Option<String>,
    start: Option<String>,
    last: Option<String>,
}

/// A row of `schedule_fires` to insert.
#[derive(Debug, Serialize)]
struct FireRow {
    schedule: PipelineId,
    nominal: String,
    job: Option<JobId>,
    reason: Option<String>,
}

/// Gives the pipelines of a database that knew no schedules theirs, from now on.
pub(crate) async fn begin(conn: &mut SqliteConnection, now: Timestamp) -> Result<()> {
    let rows = sqlx::query("SELECT id, config FROM pipelines WHERE removed_at IS NULL")
        .fetch_all(&mut *conn)
        .await?;
    for row in &rows {
        // One that this program can't read any more can't be fired either; the next version of it will be.
        let Ok(document) = parse_json::<Pipeline>(row.str(1)?) else {
            continue;
        };
        if document.has_schedule() {
            let next = next_start(&document, row.parsed(0)?, now);
            sqlx::query(PUT)
                .bind(row.str(0)?)
                .bind(false)
                .bind(next.map(|next| time(next.at)))
                .bind(next.map(|next| time(next.starts_at)))
                .bind(time(now))
                .execute(&mut *conn)
                .await?;
        }
    }
    Ok(())
}

/// What a new version of a pipeline makes of its schedule; `before` is the version that was current.
pub(crate) async fn follow(
    tx: &mut Tx<'_>,
    id: PipelineId,
    before: Option<&Pipeline>,
    after: &Pipeline,
) -> Result<()> {
    if !after.has_schedule() {
        return take_away(tx, id).await;
    }
    let state = state(tx, id).await?;
    let was_there = state.is_some_and(|state| state.is_there);
    let is_same = before.is_some_and(|before| before.has_schedule_of(after));
    if was_there && is_same {
        return raise(tx, id).await;
    }
    let is_paused = was_there && state.is_some_and(|state| state.is_paused);
    let next = next_start(after, id, tx.now).filter(|_| !is_paused);
    put(tx, id, is_paused, next).await
}

/// Writes the state and the next fire of a schedule that is there.
async fn put(
    tx: &mut Tx<'_>,
    id: PipelineId,
    is_paused: bool,
    next: Option<NextFire>,
) -> Result<()> {
    sqlx::query(PUT)
        .bind(id.to_string())
        .bind(is_paused)
        .bind(next.map(|next| time(next.at)))
        .bind(next.map(|next| time(next.starts_at)))
        .bind(time(tx.now))
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}

/// The schedule goes, with its pipeline or with a version that has none.
pub(crate) async fn take_away(tx: &mut Tx<'_>, id: PipelineId) -> Result<()> {
    sqlx::query(TAKE_AWAY)
        .bind(id.to_string())
        .bind(time(tx.now))
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}

async fn raise(tx: &mut Tx<'_>, id: PipelineId) -> Result<()> {
    sqlx::query(RAISE)
        .bind(id.to_string())
        .bind(time(tx.now))
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}

async fn state(tx: &mut Tx<'_>, id: PipelineId) -> Result<Option<State>> {
    let row = sqlx::query(STATE)
        .bind(id.to_string())
        .fetch_optional(&mut *tx.conn)
        .await?;
    row.map(|row| {
        Ok(State {
            is_there: row.int(0)? != 0,
            is_paused: row.int(1)? != 0,
        })
    })
    .transpose()
}

pub(crate) async fn pause(tx: &mut Tx<'_>, requests: &[&PauseRequest]) -> Result<Answers<()>> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let id = request.schedule;
        let state = state(tx, id).await?.filter(|state| state.is_there);
        let Some(state) = state else {
            let message = "the pipeline has no schedule";
            answers.push(Err(Fault::said(StoreErrorKind::NotFound, message)));
            continue;
        };
        let begin = request.pause == Pause::Begin;
        if state.is_paused != begin {
            let next = if begin { None } else { next_of(tx, id).await? };
            put(tx, id, begin, next).await?;
        }
        answers.push(Ok(()));
    }
    Ok(answers)
}

/// The first fire of a pipeline after now.
async fn next_of(tx: &mut Tx<'_>, id: PipelineId) -> Result<Option<NextFire>> {
    let document: String = sqlx::query_scalar(CURRENT)
        .bind(id.to_string())
        .fetch_one(&mut *tx.conn)
        .await?;
    Ok(next_start(&parse_json(&document)?, id, tx.now))
}

/// Decides the fires of a group in order, and writes what comes of them in a few statements.
pub(crate) async fn fire(tx: &mut Tx<'_>, fires: &[&Fire]) -> Result<Answers<Fired>> {
    let mut revs = revs(tx, fires).await?;
    let known = known_fires(tx, fires).await?;
    // Of two fires of a schedule in one group the second has not seen the first: one `rev` is good for one fire.
    let mut verdicts = Vec::with_capacity(fires.len());
    let mut jobs: Vec<&NewJob> = Vec::new();
    for fire in fires {
        let holds = revs.get(&fire.schedule) == Some(&fire.rev);
        verdicts.push(if !holds {
            Some(Fired::Lost)
        } else if known.contains(&(fire.schedule, time(fire.nominal))) {
            revs.remove(&fire.schedule);
            Some(Fired::Known)
        } else {
            revs.remove(&fire.schedule);
            if let FireOutcome::Job(job) = &fire.outcome {
                jobs.push(job);
            }
            None
        });
    }
    let mut submitted = if jobs.is_empty() {
        Vec::new().into_iter()
    } else {
        submit::submit(tx, &jobs).await?.into_iter()
    };
    let (mut moves, mut rows) = (Vec::new(), Vec::new());
    let mut answers = Vec::with_capacity(fires.len());
    for (fire, verdict) in fires.iter().zip(verdicts) {
        let (answer, row, last) = match (verdict, &fire.outcome) {
            (Some(verdict), _) => (verdict, None, None),
            (None, FireOutcome::Skipped(reason)) => {
                (Fired::Fired, Some((None, Some(reason.clone()))), None)
            }
            (None, FireOutcome::Job(_)) => match submitted.next() {
                Some(Ok(Submitted::New(job))) => {
                    let last = Some(time(fire.nominal));
                    (Fired::Fired, Some((Some(job), None)), last)
                }
                Some(Ok(Submitted::Existing(job) | Submitted::KeyTaken(job))) => {
                    (Fired::Known, Some((Some(job), None)), None)
                }
                Some(Err(fault)) => {
                    answers.push(Err(fault));
                    continue;
                }
                None => return Err(Fault::illegal("a job was submitted and not answered")),
            },
        };
        if answer != Fired::Lost {
            moves.push(Move {
                schedule: fire.schedule,
                rev: fire.rev,
                next: fire.next.map(|next| time(next.at)),
                start: fire.next.map(|next| time(next.starts_at)),
                last,
            });
        }
        rows.extend(row.map(|(job, reason)| FireRow {
            schedule: fire.schedule,
            nominal: time(fire.nominal),
            job,
            reason,
        }));
        answers.push(Ok(answer));
    }
    write(tx, &moves, &rows).await?;
    Ok(answers)
}

async fn write(tx: &mut Tx<'_>, moves: &[Move], rows: &[FireRow]) -> Result<()> {
    let now = time(tx.now);
    for (sql, list, len) in [
        (MOVE, json(moves)?, moves.len()),
        (INSERT_FIRES, json(rows)?, rows.len()),
    ] {
        if len > 0 {
            sqlx::query(sql)
                .bind(list)
                .bind(&now)
                .execute(&mut *tx.conn)
                .await?;
        }
    }
    Ok(())
}

/// The `rev` of each schedule that is there.
async fn revs(tx: &mut Tx<'_>, fires: &[&Fire]) -> Result<HashMap<PipelineId, u64>> {
    let ids: Vec<_> = fires.iter().map(|fire| fire.schedule).collect();
    let rows = sqlx::query(REVS)
        .bind(json(&ids)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    rows.iter()
        .map(|row| Ok((row.parsed(0)?, row.number(1)?)))
        .collect()
}

/// Those of the fires that were decided before.
async fn known_fires(tx: &mut Tx<'_>, fires: &[&Fire]) -> Result<HashSet<(PipelineId, String)>> {
    let keys: Vec<_> = fires
        .iter()
        .map(|fire| (fire.schedule, time(fire.nominal)))
        .collect();
    let rows = sqlx::query(KNOWN_FIRES)
        .bind(json(&keys)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    rows.iter()
        .map(|row| Ok((row.parsed(0)?, row.str(1)?.to_owned())))
        .collect()
}

impl SqliteStore {
    /// Schedules that are due, and those among them that can't be read.
    async fn look_for_due(&self, limit: usize) -> Result<(Due, PutOff)> {
        let now = self.now();
        let rows = sqlx::query(DUE)
            .bind(time(now))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(self.readers())
            .await?;
        let (mut schedules, mut unreadable) = (Vec::with_capacity(rows.len()), PutOff::default());
        for row in &rows {
            match schedule(row) {
                Ok(schedule) => schedules.push(schedule),
                Err(fault) => {
                    let pipeline_id = row.str(0)?;
                    tracing::error!(pipeline_id, error = ?fault, "a schedule can't be read and was passed over");
                    unreadable.schedule(row, (0, 10), now)?;
                }
            }
        }
        Ok((Due { now, schedules }, unreadable))
    }
}

#[async_trait]
impl ScheduleStore for SqliteStore {
    async fn due(&self, limit: usize) -> StoreResult<Due> {
        loop {
            let looked = self.look_for_due(limit).await;
            let (due, unreadable) = looked.map_err(|fault: Fault| fault.of("due"))?;
            let has_room = unreadable.schedules.len() < limit;
            if unreadable.is_empty() || !self.put_off(unreadable).await || has_room {
                return Ok(due);
            }
            // There was no room for one that can be read.
        }
    }

    async fn fire(&self, fire: Fire) -> StoreResult<Fired> {
        self.ask(fire).await
    }

    async fn pause(&self, schedule: PipelineId) -> StoreResult<()> {
        let pause = Pause::Begin;
        self.ask_beside(PauseRequest { schedule, pause }).await
    }

    async fn resume(&self, schedule: PipelineId) -> StoreResult<()> {
        let pause = Pause::End;
        self.ask_beside(PauseRequest { schedule, pause }).await
    }

    async fn schedule(&self, id: PipelineId) -> StoreResult<Option<Schedule>> {
        let found = async {
            let row = sqlx::query(ONE)
                .bind(id.to_string())
                .fetch_optional(self.readers())
                .await?;
            row.as_ref().map(schedule).transpose()
        };
        found.await.map_err(|fault: Fault| fault.of("schedule"))
    }

    async fn schedules(&self, page: &PageRequest) -> StoreResult<Page<Schedule>> {
        let list = async {
            let (namespace, name) = match &page.cursor {
                None => ("", ""),
                Some(cursor) => cursor.0.split_once('/').ok_or_else(no_such_cursor)?,
            };
            let limit = page.limit.clamp(1, 500);
            let rows = sqlx::query(LIST)
                .bind(namespace)
                .bind(name)
                .bind(limit as i64 + 1)
                .fetch_all(self.readers())
                .await?;
            let items = rows.iter().take(limit).map(schedule);
            let items = items.collect::<Result<Vec<_>>>()?;
            let last = items.last().filter(|_| rows.len() > limit);
            let next_cursor = last.map(|last| {
                Cursor(format!(
                    "{}/{}",
                    last.pipeline.namespace, last.pipeline.name
                ))
            });
            Ok(Page { items, next_cursor })
        };
        list.await.map_err(|fault: Fault| fault.of("schedules"))
    }

    async fn fires(&self, schedule: PipelineId, limit: usize) -> StoreResult<Vec<FireRecord>> {
        let list = async {
            let rows = sqlx::query(FIRES)
                .bind(schedule.to_string())
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(self.readers())
                .await?;
            rows.iter()
                .map(|row| {
                    Ok(FireRecord {
                        nominal: row.parsed(0)?,
                        job_id: row.opt_parsed(1)?,
                        reason: row.owned(2)?,
                        created_at: row.parsed(3)?,
                    })
                })
                .collect::<Result<_>>()
        };
        list.await.map_err(|fault: Fault| fault.of("fires"))
    }
}

/// A row of [`DUE`], [`ONE`] or [`LIST`].
fn schedule(row: &SqliteRow) -> Result<Schedule> {
    Ok(Schedule {
        pipeline: PipelineRef {
            id: row.parsed(0)?,
            namespace: row.shared(1)?,
            name: row.shared(2)?,
            version: row.number(3)?,
        },
        document: parse_json::<Pipeline>(row.str(4)?)?.into(),
        rev: row.number(5)?,
        is_paused: row.int(6)? != 0,
        next_fire_at: row.opt_parsed(7)?,
        next_start_at: row.opt_parsed(8)?,
        last_fire_at: row.opt_parsed(9)?,
    })
}

macro_rules! schedule_columns {
    () => {
        "p.id, p.namespace, p.name, p.version, p.config, s.rev, s.is_paused, s.next_fire_at, s.next_start_at, \
         s.last_fire_at, s.put_off"
    };
}

pub(crate) const DUE: &str = concat!(
    "SELECT ",
    schedule_columns!(),
    " FROM schedules s INDEXED BY idx_schedules_due CROSS JOIN pipelines p ON p.id = s.pipeline_id
    WHERE s.next_start_at <= ?1 AND s.next_fire_at <= ?1 AND (s.put_off_until IS NULL OR s.put_off_until <= ?1)
    ORDER BY s.next_start_at, s.pipeline_id LIMIT ?2"
);

pub(crate) const ONE: &str = concat!(
    "SELECT ",
    schedule_columns!(),
    " FROM schedules s JOIN pipelines p ON p.id = s.pipeline_id WHERE s.pipeline_id = ?1 AND s.is_there"
);

pub(crate) const LIST: &str = concat!(
    "SELECT ",
    schedule_columns!(),
    " FROM pipelines p CROSS JOIN schedules s ON s.pipeline_id = p.id
    WHERE (p.namespace, p.name) > (?1, ?2) AND s.is_there ORDER BY p.namespace, p.name LIMIT ?3"
);

pub(crate) const FIRES: &str = "
    SELECT nominal, job_id, reason, created_at FROM schedule_fires
    WHERE pipeline_id = ?1 ORDER BY nominal DESC LIMIT ?2";

pub(crate) const STATE: &str = "SELECT is_there, is_paused FROM schedules WHERE pipeline_id = ?1";

pub(crate) const CURRENT: &str = "SELECT config FROM pipelines WHERE id = ?1";

const PUT: &str = "
    INSERT INTO schedules (pipeline_id, is_there, rev, is_paused, next_fire_at, next_start_at, updated_at)
    VALUES (?1, 1, 1, ?2, ?3, ?4, ?5)
    ON CONFLICT (pipeline_id) DO UPDATE SET
        is_there = 1, rev = rev + 1, is_paused = excluded.is_paused, next_fire_at = excluded.next_fire_at,
        next_start_at = excluded.next_start_at, put_off = 0, put_off_until = NULL, updated_at = excluded.updated_at";

pub(crate) const RAISE: &str = "
    UPDATE schedules SET rev = rev + 1, put_off = 0, put_off_until = NULL, updated_at = ?2
    WHERE pipeline_id = ?1";

pub(crate) const TAKE_AWAY: &str = "
    UPDATE schedules SET is_there = 0, rev = rev + 1, is_paused = 0, next_fire_at = NULL, next_start_at = NULL,
        updated_at = ?2
    WHERE pipeline_id = ?1 AND is_there";

pub(crate) const REVS: &str = "
    SELECT s.pipeline_id, s.rev
    FROM jsonb_each(?1) e CROSS JOIN schedules s ON s.pipeline_id = e.value
    WHERE s.is_there";

pub(crate) const KNOWN_FIRES: &str = "
    SELECT f.pipeline_id, f.nominal
    FROM jsonb_each(?1) e
    CROSS JOIN schedule_fires f ON f.pipeline_id = e.value->>0 AND f.nominal = e.value->>1";

pub(crate) const MOVE: &str = "
    UPDATE schedules SET
        rev = rev + 1, next_fire_at = value->>'next', next_start_at = value->>'start',
        last_fire_at = coalesce(value->>'last', last_fire_at), put_off = 0, put_off_until = NULL,
        updated_at = ?2
    FROM jsonb_each(?1)
    WHERE schedules.pipeline_id = value->>'schedule' AND schedules.rev = value->>'rev'";

const INSERT_FIRES: &str = "
    INSERT INTO schedule_fires (pipeline_id, nominal, job_id, reason, created_at)
    SELECT value->>'schedule', value->>'nominal', value->>'job', value->>'reason', ?2
    FROM jsonb_each(?1)";
