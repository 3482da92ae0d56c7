//! The audit log: rows that are written with what they tell of.

use std::sync::Arc;

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::{Audited, SealAudit};
use etl_core::model::{
    Actor, AuditEntry, AuditFilter, AuditRecord, Cursor, Page, PageRequest, Seal, SealedRecord,
};
use serde_json::Value;

use crate::conn::{Arg, SqlConn, row};
use crate::fault::{Fault, Result};
use crate::rows::{Columns, json};
use crate::writer::{Answers, Call};

/// What was done, and by whom.
pub type Noted = (Arc<Actor>, AuditEntry);

/// A note by itself.
#[derive(Debug, Clone)]
pub struct Note {
    /// Who.
    pub actor: Actor,
    /// What.
    pub entry: AuditEntry,
}

/// Every statement about the audit log.
#[derive(Debug)]
pub struct AuditSql {
    /// A new row.
    pub insert: &'static str,
    /// Rows before a number, newest first.
    pub list: &'static str,
    /// The same, of a user.
    pub list_of_user: &'static str,
    /// The same, of a thing.
    pub list_of_resource: &'static str,
    /// The same, of an action.
    pub list_of_action: &'static str,
    /// Rows without a place in the chain.
    pub unsealed: &'static str,
    /// The last seal.
    pub head: &'static str,
    /// Whether a row has no place, which nobody else may change meanwhile.
    pub open: &'static str,
    /// Gives a row its place.
    pub seal: &'static str,
    /// The chain after a place.
    pub sealed: &'static str,
}

impl AuditSql {
    /// All of them by name.
    pub fn all(&self) -> [(&'static str, &'static str); 10] {
        [
            ("insert", self.insert),
            ("list", self.list),
            ("list_of_user", self.list_of_user),
            ("list_of_resource", self.list_of_resource),
            ("list_of_action", self.list_of_action),
            ("unsealed", self.unsealed),
            ("head", self.head),
            ("open", self.open),
            ("seal", self.seal),
            ("sealed", self.sealed),
        ]
    }
}

/// The statements in a dialect, as [`accounts_sql!`](crate::accounts_sql) has them, with a cast of a text to JSON.
#[macro_export]
macro_rules! audit_sql {
    (uuid: $u:literal, time: $t:literal, json: $j:literal, text: $s:literal, format: $f:literal, lock: $l:literal $(,)?) => {
        $crate::AuditSql {
            insert: concat!(
                "INSERT INTO audit_log (timestamp, user_id, actor, action, resource_type, resource_id, old_value, new_value, ip_address, \
                 user_agent, trace_id) VALUES ($1", $t, ", $2", $u, ", $3, $4, $5, $6, $7", $j, ", $8", $j, ", $9, $10, $11)"
            ),
            list: $crate::audit_sql!(@list $u, $t, $s, $f, ""),
            list_of_user: $crate::audit_sql!(@list $u, $t, $s, $f, "user_id"),
            list_of_resource: $crate::audit_sql!(@list $u, $t, $s, $f, "resource_id"),
            list_of_action: $crate::audit_sql!(@list $u, $t, $s, $f, "action"),
            unsealed: concat!(
                "SELECT ", $crate::audit_sql!(@row $s, $f), " FROM audit_log WHERE seq IS NULL ORDER BY id LIMIT $1"
            ),
            head: "SELECT seq, mac FROM audit_log WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1",
            open: concat!("SELECT id FROM audit_log WHERE id = $1 AND seq IS NULL", $l),
            seal: "UPDATE audit_log SET seq = $2, mac = $3 WHERE id = $1 AND seq IS NULL",
            sealed: concat!(
                "SELECT ", $crate::audit_sql!(@row $s, $f), ", seq, mac FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2"
            ),
        }
    };
    // The column that an index leads by must not be hidden behind the question whether it matters.
    (@list $u:literal, $t:literal, $s:literal, $f:literal, "") => {
        $crate::audit_sql!(@rows $u, $t, $s, $f, concat!("($2", $u, " IS NULL OR user_id = $2", $u,
            ") AND ($3 IS NULL OR action = $3) AND ($5 IS NULL OR resource_id = $5)"))
    };
    (@list $u:literal, $t:literal, $s:literal, $f:literal, "user_id") => {
        $crate::audit_sql!(@rows $u, $t, $s, $f, concat!("user_id = $2", $u,
            " AND ($3 IS NULL OR action = $3) AND ($5 IS NULL OR resource_id = $5)"))
    };
    (@list $u:literal, $t:literal, $s:literal, $f:literal, "resource_id") => {
        $crate::audit_sql!(@rows $u, $t, $s, $f, concat!("resource_id = $5 AND ($2", $u, " IS NULL OR user_id = $2", $u,
            ") AND ($3 IS NULL OR action = $3)"))
    };
    (@list $u:literal, $t:literal, $s:literal, $f:literal, "action") => {
        $crate::audit_sql!(@rows $u, $t, $s, $f, concat!("action = $3 AND ($2", $u, " IS NULL OR user_id = $2", $u,
            ") AND ($5 IS NULL OR resource_id = $5)"))
    };
    (@rows $u:literal, $t:literal, $s:literal, $f:literal, $which:expr) => {
        concat!(
            "SELECT ", $crate::audit_sql!(@row $s, $f), " FROM audit_log WHERE id < $1 AND ", $which,
            " AND ($4 IS NULL OR resource_type = $4) AND ($6", $t, " IS NULL OR timestamp >= $6", $t, ") AND ($7", $t,
            " IS NULL OR timestamp < $7", $t, ") ORDER BY id DESC LIMIT $8"
        )
    };
    (@row $s:literal, $f:literal) => {
        concat!(
            "id, ", $f, "(timestamp), user_id", $s, ", actor, action, resource_type, resource_id, old_value", $s, ", new_value", $s,
            ", ip_address, user_agent, trace_id"
        )
    };
}

/// Adds what calls did to what is to be noted.
pub fn collect<I: Audited<O>, O>(
    calls: &[Call<I, O>],
    answers: &Answers<O>,
    noted: &mut Vec<Noted>,
) {
    for (call, answer) in calls.iter().zip(answers) {
        if let (Some(actor), Ok(outcome)) = (&call.actor, answer)
            && let Some(entry) = call.input.entry(outcome)
        {
            noted.push((Arc::clone(actor), entry));
        }
    }
}

/// Writes notes.
pub async fn insert<C: SqlConn>(conn: &mut C, noted: &[Noted]) -> Result<()> {
    for (actor, entry) in noted {
        insert_one(conn, actor, entry).await?;
    }
    Ok(())
}

async fn insert_one<C: SqlConn>(conn: &mut C, actor: &Actor, entry: &AuditEntry) -> Result<()> {
    let value = |value: &Option<Value>| value.as_ref().map(json).transpose();
    let args = vec![
        Arg::at(conn.now()),
        Arg::owned(actor.user_id.map(|id| id.to_string())),
        Arg::text(&actor.name),
        Arg::text(entry.action),
        Arg::text(entry.resource_type),
        Arg::owned(entry.resource_id.clone()),
        Arg::owned(value(&entry.old_value)?),
        Arg::owned(value(&entry.new_value)?),
        Arg::owned(actor.ip_address.clone()),
        Arg::owned(actor.user_agent.clone()),
        Arg::owned(actor.trace_id.clone()),
    ];
    conn.write(C::AUDIT.insert, args).await?;
    Ok(())
}

/// Writes notes by themselves.
pub async fn note<C: SqlConn>(conn: &mut C, notes: &[&Note]) -> Result<Answers<()>> {
    let mut answers = Vec::with_capacity(notes.len());
    for note in notes {
        insert_one(conn, &note.actor, &note.entry).await?;
        answers.push(Ok(()));
    }
    Ok(answers)
}

/// A page of rows.
pub async fn list<C: SqlConn>(
    conn: &mut C,
    filter: &AuditFilter,
    request: &PageRequest,
) -> Result<Page<AuditRecord>> {
    let before = match &request.cursor {
        None => i64::MAX,
        Some(cursor) => cursor.0.parse().map_err(|_| {
            Fault::said(
                StoreErrorKind::NotFound,
                "the cursor is not one of this list",
            )
        })?,
    };
    let limit = request.limit.clamp(1, 500);
    let sql = match filter {
        AuditFilter {
            resource_id: Some(_),
            ..
        } => C::AUDIT.list_of_resource,
        AuditFilter {
            user_id: Some(_), ..
        } => C::AUDIT.list_of_user,
        AuditFilter {
            action: Some(_), ..
        } => C::AUDIT.list_of_action,
        _ => C::AUDIT.list,
    };
    let args = vec![
        Arg::Int(Some(before)),
        Arg::owned(filter.user_id.map(|id| id.to_string())),
        Arg::owned(filter.action.clone()),
        Arg::owned(filter.resource_type.clone()),
        Arg::owned(filter.resource_id.clone()),
        Arg::at_if(filter.from),
        Arg::at_if(filter.to),
        Arg::Int(Some(limit as i64 + 1)),
    ];
    let rows = conn.rows(sql, args).await?;
    let items = rows.iter().take(limit).map(record);
    let items = items.collect::<Result<Vec<_>>>()?;
    let last = items.last().filter(|_| rows.len() > limit);
    let next_cursor = last.map(|last| Cursor(last.id.to_string()));
    Ok(Page { items, next_cursor })
}

/// Rows that have no place in the chain yet.
pub async fn unsealed<C: SqlConn>(conn: &mut C, limit: usize) -> Result<Vec<AuditRecord>> {
    let args = vec![Arg::int(limit as u64)];
    let rows = conn.rows(C::AUDIT.unsealed, args).await?;
    rows.iter().map(record).collect()
}

/// The last seal.
pub async fn head<C: SqlConn>(conn: &mut C) -> Result<Option<Seal>> {
    let found = row(conn, C::AUDIT.head, Vec::new()).await?;
    found.as_ref().map(|row| seal_of(row, 0)).transpose()
}

/// The chain after a place.
pub async fn sealed<C: SqlConn>(
    conn: &mut C,
    after: u64,
    limit: usize,
) -> Result<Vec<SealedRecord>> {
    let args = vec![Arg::int(after), Arg::int(limit as u64)];
    let rows = conn.rows(C::AUDIT.sealed, args).await?;
    rows.iter()
        .map(|row| {
            Ok(SealedRecord {
                record: record(row)?,
                seal: seal_of(row, 12)?,
            })
        })
        .collect()
}

/// Gives rows their places. Who comes second finds another head, or that the place is taken, and then the whole is tried again.
pub async fn seal<C: SqlConn>(conn: &mut C, seals: &[&SealAudit]) -> Result<Answers<bool>> {
    let mut answers = Vec::with_capacity(seals.len());
    for seal in seals {
        answers.push(seal_one(conn, seal).await);
    }
    Ok(answers)
}

async fn seal_one<C: SqlConn>(conn: &mut C, seal: &SealAudit) -> Result<bool> {
    let last = head(conn).await?.map_or(0, |seal| seal.seq);
    if last != seal.after {
        return Ok(false);
    }
    // Looked at before anything is written: the other requests of the transaction are not to be undone.
    for (id, _) in &seal.rows {
        let is_open = row(conn, C::AUDIT.open, vec![Arg::int(*id)]).await?;
        if is_open.is_none() {
            return Ok(false);
        }
    }
    for (place, (id, mac)) in (last + 1..).zip(&seal.rows) {
        let args = vec![Arg::int(*id), Arg::int(place), Arg::bytes(mac)];
        conn.write(C::AUDIT.seal, args).await?;
    }
    Ok(true)
}

/// A row that has the columns of `@row`.
fn record(row: &impl Columns) -> Result<AuditRecord> {
    Ok(AuditRecord {
        id: row.number(0)?,
        timestamp: row.parsed(1)?,
        user_id: row.opt_parsed(2)?,
        actor: row.str(3)?.into(),
        action: row.str(4)?.into(),
        resource_type: row.owned(5)?,
        resource_id: row.owned(6)?,
        old_value: row.json(7)?,
        new_value: row.json(8)?,
        ip_address: row.owned(9)?,
        user_agent: row.owned(10)?,
        trace_id: row.owned(11)?,
    })
}

/// `seq` at `column`, and `mac` after it.
fn seal_of(row: &impl Columns, column: usize) -> Result<Seal> {
    let mac = row.bytes(column + 1)?.try_into();
    Ok(Seal {
        seq: row.number(column)?,
        mac: mac.map_err(Fault::corrupt)?,
    })
}
