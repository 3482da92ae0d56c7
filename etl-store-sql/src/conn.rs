//! Statements that the databases share, each in its dialect, and the connections that they run on.

use std::borrow::Cow;
use std::future::Future;

use etl_core::model::Timestamp;

use crate::accounts::AccountsSql;
use crate::audit::AuditSql;
use crate::dead_letters::DeadLettersSql;
use crate::fault::Result;
use crate::rows::{Columns, count, time};

/// A value for a statement. Ids and times are text, as rows give them.
#[derive(Debug)]
pub enum Arg<'a> {
    /// A text, or NULL.
    Text(Option<Cow<'a, str>>),
    /// An integer, or NULL.
    Int(Option<i64>),
    /// Bytes, or NULL.
    Bytes(Option<Cow<'a, [u8]>>),
}

impl<'a> Arg<'a> {
    pub(crate) fn int(number: u64) -> Self {
        Self::Int(Some(count(number)))
    }

    pub(crate) fn owned(text: Option<String>) -> Self {
        Self::Text(text.map(Cow::Owned))
    }

    pub(crate) fn id(id: impl ToString) -> Self {
        Self::Text(Some(id.to_string().into()))
    }

    pub(crate) fn text(text: &'a str) -> Self {
        Self::Text(Some(text.into()))
    }

    pub(crate) fn at(at: Timestamp) -> Self {
        Self::Text(Some(time(at).into()))
    }

    pub(crate) fn at_if(at: Option<Timestamp>) -> Self {
        Self::Text(at.map(|at| time(at).into()))
    }

    pub(crate) fn bytes(bytes: &'a [u8]) -> Self {
        Self::Bytes(Some(bytes.into()))
    }
}

/// Where statements run that two dialects share: the transaction of a group, or a connection that reads.
pub trait SqlConn: Send {
    /// A row.
    type Row: Columns + Send + Sync;
    /// The statements about accounts.
    const ACCOUNTS: &'static AccountsSql;
    /// The statements about the audit log.
    const AUDIT: &'static AuditSql;
    /// The statements about settling dead letters.
    const DEAD_LETTERS: &'static DeadLettersSql;

    /// The store's time.
    fn now(&self) -> Timestamp;

    /// Rows of a statement.
    fn rows(
        &mut self,
        sql: &'static str,
        args: Vec<Arg<'_>>,
    ) -> impl Future<Output = Result<Vec<Self::Row>>> + Send;

    /// How many rows a statement changed.
    fn write(
        &mut self,
        sql: &'static str,
        args: Vec<Arg<'_>>,
    ) -> impl Future<Output = Result<u64>> + Send;
}

/// The only row, if there is one.
pub(crate) async fn row<C: SqlConn>(
    conn: &mut C,
    sql: &'static str,
    args: Vec<Arg<'_>>,
) -> Result<Option<C::Row>> {
    Ok(conn.rows(sql, args).await?.pop())
}
