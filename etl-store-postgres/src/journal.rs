//! The journal: log lines, and everything that readers ask.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use etl_core::contract::store::{Journal, Result as StoreResult};
use etl_core::model::{
    Cursor, DeadLetter, HookRow, JobFilter, JobId, JobRecord, JobStatus, LogLine, Page,
    PageRequest, PipelineId, StepKey, StepRecord, Timestamp,
};
use sqlx::{Postgres, QueryBuilder};

use crate::catalog::no_such_cursor;
use crate::columns::{job_columns, log_columns, step_columns};
use crate::letters;
use crate::store::PostgresStore;
use crate::text::json;
use crate::writer::Tx;
use etl_store_sql::{Answers, LineRow};
use etl_store_sql::{Columns, count, item_column, job_record, log_line, step_record, time};
use etl_store_sql::{Fault, Result};

pub(crate) async fn append(tx: &mut Tx<'_>, batches: &[&Vec<LogLine>]) -> Result<Answers<()>> {
    let lines: Vec<_> = batches.iter().copied().flatten().collect();
    write(tx, &lines).await?;
    Ok(batches.iter().map(|_| Ok(())).collect())
}

/// Tells of moves of jobs that the store makes by itself.
pub(crate) async fn tell(
    tx: &mut Tx<'_>,
    moves: &[(JobId, JobStatus, Option<Timestamp>)],
) -> Result<()> {
    let now = tx.now;
    let lines: Vec<_> = moves
        .iter()
        .map(|(job, to, started_at)| LogLine::of_own_move(*job, *to, *started_at, now))
        .collect();
    write(tx, &lines.iter().collect::<Vec<_>>()).await
}

/// Writes lines with the next numbers. Those of jobs that don't exist are dropped.
async fn write(tx: &mut Tx<'_>, lines: &[&LogLine]) -> Result<()> {
    let jobs: HashSet<_> = lines.iter().map(|line| line.job_id).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let last = sqlx::query(LAST_LINES)
        .bind(json(&jobs)?)
        .fetch_all(&mut *tx.conn)
        .await?;
    let mut last = last
        .iter()
        .map(|row| Ok((row.parsed(0)?, row.int(1)?)))
        .collect::<Result<HashMap<JobId, i64>>>()?;
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines {
        // Of a job that does not exist there is no last line, not even 0.
        if let Some(seq) = last.get_mut(&line.job_id) {
            *seq += 1;
            rows.push(LineRow::new(line.job_id, *seq, line)?);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let last: Vec<_> = last.into_iter().collect();
    sqlx::query(APPEND)
        .bind(json(&rows)?)
        .bind(json(&last)?)
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}

#[async_trait]
impl Journal for PostgresStore {
    async fn append(&self, lines: &[LogLine]) -> StoreResult<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.ask(lines.to_vec()).await
    }

    async fn lines(&self, job: JobId, after_seq: u64, limit: usize) -> StoreResult<Vec<LogLine>> {
        let lines = async {
            let rows = sqlx::query(LINES)
                .bind(job.to_string())
                .bind(count(after_seq))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(self.readers())
                .await?;
            rows.iter()
                .map(|row| log_line(row, job))
                .collect::<Result<_>>()
        };
        lines.await.map_err(|fault: Fault| fault.of("lines"))
    }

    async fn job(&self, job: JobId) -> StoreResult<Option<JobRecord>> {
        let found = async {
            let row = sqlx::query(JOB)
                .bind(job.to_string())
                .fetch_optional(self.readers())
                .await?;
            row.as_ref().map(job_record).transpose()
        };
        found.await.map_err(|fault: Fault| fault.of("job"))
    }

    async fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> StoreResult<Page<JobRecord>> {
        self.list_jobs(filter, page)
            .await
            .map_err(|fault| fault.of("jobs"))
    }

    async fn steps(&self, job: JobId, page: &PageRequest) -> StoreResult<Page<StepRecord>> {
        self.list_steps(job, page)
            .await
            .map_err(|fault| fault.of("steps"))
    }

    async fn dead_letters(&self, job: JobId) -> StoreResult<Vec<DeadLetter>> {
        letters::dead_letters(self.readers(), job)
            .await
            .map_err(|fault| fault.of("dead_letters"))
    }

    async fn hooks(&self, job: JobId) -> StoreResult<Vec<HookRow>> {
        letters::hooks(self.readers(), job)
            .await
            .map_err(|fault| fault.of("hooks"))
    }
}

impl PostgresStore {
    async fn list_jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobRecord>> {
        let before = page.cursor.as_ref().map(job_place).transpose()?;
        let limit = page.limit.clamp(1, 500);
        let pipelines = match &filter.pipeline {
            None => None,
            Some(name) => Some(
                sqlx::query_scalar::<_, String>("SELECT id::text FROM pipelines WHERE name = $1")
                    .bind(name)
                    .fetch_all(self.readers())
                    .await?,
            ),
        };
        let mut query = job_list(
            filter,
            pipelines.as_deref(),
            before.as_ref(),
            limit as i64 + 1,
        );
        let rows = query.build().fetch_all(self.readers()).await?;
        let items = rows
            .iter()
            .take(limit)
            .map(job_record)
            .collect::<Result<Vec<_>>>()?;
        let next_cursor = items
            .last()
            .filter(|_| rows.len() > limit)
            .map(|last| Cursor(format!("{}.{}", last.created_at.as_micros(), last.id)));
        Ok(Page { items, next_cursor })
    }

    async fn list_steps(&self, job: JobId, page: &PageRequest) -> Result<Page<StepRecord>> {
        let after = match &page.cursor {
            None => (-1, -1),
            Some(cursor) => step_place(cursor)?,
        };
        let limit = page.limit.clamp(1, 500);
        let mut conn = self.readers().acquire().await?;
        let pinned = sqlx::query(
            "SELECT pipeline_id::text, pipeline_version FROM job_executions WHERE id = $1::uuid",
        )
        .bind(job.to_string())
        .fetch_optional(&mut *conn)
        .await?;
        let Some(pinned) = pinned else {
            return Ok(Page {
                items: Vec::new(),
                next_cursor: None,
            });
        };
        let pipeline: PipelineId = pinned.parsed(0)?;
        let document = self
            .documents()
            .read(&mut conn, pipeline, pinned.number(1)?)
            .await?;
        let rows = sqlx::query(STEPS)
            .bind(job.to_string())
            .bind(after.0)
            .bind(after.1)
            .bind(limit as i64 + 1)
            .fetch_all(&mut *conn)
            .await?;
        let names = |position: u32| {
            let step = document.steps.get(position as usize)?;
            Some((
                step.name.as_str().into(),
                step.connector_type.as_str().into(),
            ))
        };
        let items = rows
            .iter()
            .take(limit)
            .map(|row| step_record(row, job, names))
            .collect::<Result<Vec<_>>>()?;
        let next_cursor = items.last().filter(|_| rows.len() > limit).map(|last| {
            let key = StepKey {
                step: last.order_index,
                item: last.item_index,
            };
            Cursor(format!("{}.{}", key.step, item_column(key)))
        });
        Ok(Page { items, next_cursor })
    }
}

/// The place in the list of jobs that a cursor names: `created_at` as the column has it, and the id.
pub(crate) fn job_place(cursor: &Cursor) -> Result<(String, String)> {
    let place = || {
        let (micros, id) = cursor.0.split_once('.')?;
        let id: JobId = id.parse().ok()?;
        let at = Timestamp::from_micros(micros.parse().ok()?);
        Some((time(at), id.to_string()))
    };
    place().ok_or_else(no_such_cursor)
}

/// The place in the list of steps that a cursor names.
fn step_place(cursor: &Cursor) -> Result<(i64, i64)> {
    let place = || {
        let (step, item) = cursor.0.split_once('.')?;
        Some((step.parse().ok()?, item.parse().ok()?))
    };
    place().ok_or_else(no_such_cursor)
}

/// The newest jobs that fit. Each state and each pipeline of the name has an arm of its own that walks an index from the
/// newest on and stops early; the arms' few keys are then merged.
pub(crate) fn job_list(
    filter: &JobFilter,
    pipelines: Option<&[String]>,
    before: Option<&(String, String)>,
    limit: i64,
) -> QueryBuilder<Postgres> {
    let statuses: Vec<_> = match filter.status.as_slice() {
        [] => vec![None],
        some => {
            let mut some = some.to_vec();
            some.sort_unstable();
            some.dedup();
            some.into_iter().map(Some).collect()
        }
    };
    let pipelines: Vec<_> = match pipelines {
        None => vec![None],
        Some(some) => some.iter().map(Some).collect(),
    };
    let arms: Vec<_> = statuses
        .iter()
        .flat_map(|status| pipelines.iter().map(move |pipeline| (*status, *pipeline)))
        .collect();
    if let [(status, pipeline)] = arms[..] {
        // The one arm's rows are those of the answer: nothing is looked up again.
        let mut query = QueryBuilder::new(concat!(
            "SELECT ",
            job_columns!(),
            " FROM job_executions j JOIN pipelines p ON p.id = j.pipeline_id WHERE true"
        ));
        push_arm(&mut query, "j.", filter, (status, pipeline), before, limit);
        return query;
    }
    let mut query = QueryBuilder::new(concat!("SELECT ", job_columns!(), " FROM ("));
    let mut separator = "";
    for arm in arms {
        query
            .push(separator)
            .push("(SELECT id FROM job_executions WHERE true");
        push_arm(&mut query, "", filter, arm, before, limit);
        query.push(")");
        separator = " UNION ALL ";
    }
    if separator.is_empty() {
        query.push("SELECT NULL::uuid AS id WHERE false");
    }
    query.push(") k JOIN job_executions j ON j.id = k.id JOIN pipelines p ON p.id = j.pipeline_id");
    query
        .push(" ORDER BY j.created_at DESC, j.id DESC LIMIT ")
        .push(limit);
    query
}

/// What the jobs of an arm have to be, and their order; `of` is before the names of their columns.
fn push_arm(
    query: &mut QueryBuilder<Postgres>,
    of: &str,
    filter: &JobFilter,
    (status, pipeline): (Option<JobStatus>, Option<&String>),
    before: Option<&(String, String)>,
    limit: i64,
) {
    let and = |query: &mut QueryBuilder<Postgres>, term: &str, value: String, end: &str| {
        query.push(format_args!(" AND {term}")).push_bind(value);
        query.push(end);
    };
    if let Some(status) = status {
        and(query, &format!("{of}status = "), status.as_str().into(), "");
    }
    if let Some(pipeline) = pipeline {
        let term = format!("{of}pipeline_id = ");
        and(query, &term, pipeline.clone(), "::uuid");
    }
    if let Some(trigger_type) = filter.trigger_type {
        let term = format!("{of}trigger_type = ");
        and(query, &term, trigger_type.as_str().into(), "");
    }
    if let Some(from) = filter.created_from {
        let term = format!("{of}created_at >= ");
        and(query, &term, time(from), "::timestamptz");
    }
    if let Some(to) = filter.created_to {
        let term = format!("{of}created_at < ");
        and(query, &term, time(to), "::timestamptz");
    }
    if let Some((at, id)) = before {
        let term = format!("({of}created_at, {of}id) < (");
        and(query, &term, at.clone(), "::timestamptz, ");
        query.push_bind(id.clone()).push("::uuid)");
    }
    // As a number in the text: a plan for any number is one for a tenth of all jobs, which reads all of them.
    query.push(format_args!(
        " ORDER BY {of}created_at DESC, {of}id DESC LIMIT {limit}"
    ));
}

/// The number of the last line of each job, for nobody else to give the next. It is in the row that is locked: one in another
/// table would be seen as it was before the lock was there.
const LAST_LINES: &str = "
    SELECT id::text, log_last_seq FROM job_executions
    WHERE id IN (SELECT v::uuid FROM jsonb_array_elements_text($1::jsonb) v)
    ORDER BY id FOR NO KEY UPDATE";

/// Writes lines that have their numbers.
macro_rules! insert_lines {
    () => {
        "INSERT INTO job_logs (job_id, seq, step, item_index, attempt, timestamp, level, message, metadata)
        SELECT job, seq, step, item, attempt, at, level, message, metadata::jsonb
        FROM jsonb_to_recordset($1::jsonb) AS e(
            job uuid, seq bigint, step text, item bigint, attempt bigint, at timestamptz, level text, message text,
            metadata text)"
    };
}
pub(crate) use insert_lines;

const APPEND: &str = concat!(
    "WITH lines AS (",
    insert_lines!(),
    ")
    UPDATE job_executions j SET log_last_seq = (e->>1)::bigint
    FROM jsonb_array_elements($2::jsonb) e
    WHERE j.id = (e->>0)::uuid"
);

pub(crate) const LINES: &str = concat!(
    "SELECT ",
    log_columns!(),
    " FROM job_logs WHERE job_id = $1::uuid AND seq > $2 ORDER BY seq LIMIT $3"
);

pub(crate) const JOB: &str = concat!(
    "SELECT ",
    job_columns!(),
    " FROM job_executions j JOIN pipelines p ON p.id = j.pipeline_id WHERE j.id = $1::uuid"
);

pub(crate) const STEPS: &str = concat!(
    "SELECT ",
    step_columns!(),
    " FROM step_executions s WHERE s.job_id = $1::uuid AND (s.order_index, s.item_index) > ($2, $3)
      ORDER BY s.order_index, s.item_index LIMIT $4"
);
