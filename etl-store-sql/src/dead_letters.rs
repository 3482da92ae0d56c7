//! Dead letters as those who look after them see them: listed, and settled once.

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::SettleLetter;
use etl_core::model::{
    By, Cursor, LetterFilter, LetterRecord, LetterStatus, Page, PageRequest, Timestamp,
};
use uuid::Uuid;

use crate::conn::{Arg, SqlConn, row};
use crate::fault::{Fault, Result};
use crate::rows::{Columns, word};
use crate::writer::Answers;

/// Every statement about settling dead letters.
#[derive(Debug)]
pub struct DeadLettersSql {
    /// Letters before a place, newest first.
    pub list: &'static str,
    /// The same, of a pipeline.
    pub list_of_pipeline: &'static str,
    /// The same, in a state.
    pub list_of_status: &'static str,
    /// A letter.
    pub one: &'static str,
    /// The open letters of a letter's job, which nobody else may change meanwhile.
    pub open: &'static str,
    /// Settles a letter.
    pub settle: &'static str,
    /// Settles the open letters of a letter's job.
    pub settle_all: &'static str,
}

impl DeadLettersSql {
    /// All of them by name.
    pub fn all(&self) -> [(&'static str, &'static str); 7] {
        [
            ("list", self.list),
            ("list_of_pipeline", self.list_of_pipeline),
            ("list_of_status", self.list_of_status),
            ("one", self.one),
            ("open", self.open),
            ("settle", self.settle),
            ("settle_all", self.settle_all),
        ]
    }
}

/// The statements in a dialect, as [`audit_sql!`](crate::audit_sql) has them.
#[macro_export]
macro_rules! dead_letters_sql {
    (uuid: $u:literal, time: $t:literal, text: $s:literal, int: $i:literal, format: $f:literal, lock: $l:literal $(,)?) => {
        $crate::DeadLettersSql {
            // The column that an index leads by must not be hidden behind the question whether it matters.
            list: $crate::dead_letters_sql!(@list $u, $t, $s, $i, $f,
                concat!("($3 IS NULL OR l.status = $3) AND ($4", $u, " IS NULL OR l.pipeline_id = $4", $u, ")")),
            list_of_pipeline: $crate::dead_letters_sql!(@list $u, $t, $s, $i, $f,
                concat!("($3 IS NULL OR l.status = $3) AND l.pipeline_id = $4", $u)),
            list_of_status: $crate::dead_letters_sql!(@list $u, $t, $s, $i, $f,
                concat!("l.status = $3 AND ($4", $u, " IS NULL OR l.pipeline_id = $4", $u, ")")),
            one: concat!($crate::dead_letters_sql!(@rows $s, $i, $f), " WHERE l.id = $1", $u),
            open: concat!(
                "SELECT id", $s, " FROM dead_letters WHERE job_id = (SELECT job_id FROM dead_letters WHERE id = $1", $u,
                ") AND status = 'open' ORDER BY job_id, order_index, item_index", $l
            ),
            settle: concat!($crate::dead_letters_sql!(@settle $u, $t), "id = $1", $u, " AND status = 'open'"),
            settle_all: concat!(
                $crate::dead_letters_sql!(@settle $u, $t), "job_id = (SELECT job_id FROM dead_letters WHERE id = $1", $u,
                ") AND status = 'open'"
            ),
        }
    };
    (@list $u:literal, $t:literal, $s:literal, $i:literal, $f:literal, $which:expr) => {
        concat!(
            $crate::dead_letters_sql!(@rows $s, $i, $f), " WHERE (l.created_at, l.id) < ($1", $t, ", $2", $u, ") AND ", $which,
            " ORDER BY l.created_at DESC, l.id DESC LIMIT $5"
        )
    };
    (@settle $u:literal, $t:literal) => {
        concat!("UPDATE dead_letters SET status = $2, settled_at = $3", $t, ", settled_by = $4, retry_job_id = $5", $u, " WHERE ")
    };
    (@rows $s:literal, $i:literal, $f:literal) => {
        concat!(
            "SELECT l.id", $s, ", l.job_id", $s, ", l.pipeline_id", $s, ", p.namespace, p.name, l.step_name, l.order_index", $i,
            ", l.item_index", $i, ", l.attempts", $i, ", l.error_class, l.error_message, l.status, ", $f, "(l.created_at), ", $f,
            "(l.settled_at), l.settled_by, l.retry_job_id", $s, " FROM dead_letters l LEFT JOIN pipelines p ON p.id = l.pipeline_id"
        )
    };
}

/// A page of letters.
pub async fn list<C: SqlConn>(
    conn: &mut C,
    filter: &LetterFilter,
    request: &PageRequest,
) -> Result<Page<LetterRecord>> {
    let (at, id) = match &request.cursor {
        None => (LAST.to_owned(), Uuid::max().to_string()),
        Some(cursor) => place_of(cursor).ok_or_else(|| {
            let message = "the cursor is not one of this list";
            Fault::said(StoreErrorKind::NotFound, message)
        })?,
    };
    let limit = request.limit.clamp(1, 500);
    let sql = match filter {
        LetterFilter {
            pipeline: Some(_), ..
        } => C::DEAD_LETTERS.list_of_pipeline,
        LetterFilter {
            status: Some(_), ..
        } => C::DEAD_LETTERS.list_of_status,
        _ => C::DEAD_LETTERS.list,
    };
    let args = vec![
        Arg::owned(Some(at)),
        Arg::owned(Some(id)),
        Arg::owned(filter.status.map(|status| status.to_string())),
        Arg::owned(filter.pipeline.map(|id| id.to_string())),
        Arg::Int(Some(limit as i64 + 1)),
    ];
    let rows = conn.rows(sql, args).await?;
    let items = rows.iter().take(limit).map(record);
    let items = items.collect::<Result<Vec<_>>>()?;
    let last = items.last().filter(|_| rows.len() > limit);
    let next_cursor =
        last.map(|last| Cursor(format!("{}.{}", last.created_at.as_micros(), last.id)));
    Ok(Page { items, next_cursor })
}

/// After every time that a row has.
const LAST: &str = "9999-12-31T23:59:59.999999Z";

fn place_of(cursor: &Cursor) -> Option<(String, String)> {
    let (micros, id) = cursor.0.split_once('.')?;
    let at = Timestamp::from_micros(micros.parse().ok()?);
    let id: Uuid = id.parse().ok()?;
    Some((crate::rows::time(at), id.to_string()))
}

/// A letter.
pub async fn one<C: SqlConn>(conn: &mut C, id: Uuid) -> Result<Option<LetterRecord>> {
    let found = row(conn, C::DEAD_LETTERS.one, vec![Arg::id(id)]).await?;
    found.as_ref().map(record).transpose()
}

/// Settles letters. Whoever comes second finds them settled.
pub async fn settle<C: SqlConn>(conn: &mut C, settles: &[&SettleLetter]) -> Result<Answers<bool>> {
    let mut answers = Vec::with_capacity(settles.len());
    for settle in settles {
        answers.push(settle_one(conn, settle).await);
    }
    Ok(answers)
}

async fn settle_one<C: SqlConn>(conn: &mut C, settle: &SettleLetter) -> Result<bool> {
    let rows = conn
        .rows(C::DEAD_LETTERS.open, vec![Arg::id(settle.id)])
        .await?;
    let open = rows.iter().map(|row| row.parsed::<Uuid>(0));
    if !open.collect::<Result<Vec<_>>>()?.contains(&settle.id) {
        return Ok(false);
    }
    let (sql, status) = match settle.retry {
        None => (C::DEAD_LETTERS.settle, LetterStatus::Discarded),
        Some(_) => (C::DEAD_LETTERS.settle_all, LetterStatus::Requeued),
    };
    let args = vec![
        Arg::id(settle.id),
        Arg::text(status.as_str()),
        Arg::at(conn.now()),
        Arg::text(&settle.by.0),
        Arg::owned(settle.retry.map(|job| job.to_string())),
    ];
    conn.write(sql, args).await?;
    Ok(true)
}

/// A row that has the columns of `@rows`.
fn record(row: &impl Columns) -> Result<LetterRecord> {
    let key = row.key(6)?;
    Ok(LetterRecord {
        id: row.parsed(0)?,
        job_id: row.parsed(1)?,
        pipeline_id: row.parsed(2)?,
        namespace: row.shared(3)?,
        pipeline: row.shared(4)?,
        step_name: row.shared(5)?,
        order_index: key.step,
        item_index: key.item,
        attempts: row.number(8)?,
        error_class: word(row.str(9)?)?,
        error_message: row.str(10)?.into(),
        status: row.parsed(11)?,
        created_at: row.parsed(12)?,
        settled_at: row.opt_parsed(13)?,
        settled_by: row.owned(14)?.map(By),
        retry_job_id: row.opt_parsed(15)?,
    })
}
