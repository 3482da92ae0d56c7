//! Reads rows from a database.

use async_trait::async_trait;
use etl_core::model::StepError;
use futures_util::stream::{self, StreamExt};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Column, Executor, SqlSafeStr, Statement};
use tokio::sync::{mpsc, oneshot};

use super::config::SqliteSourceConfig;
use super::connection::{Access, begin_read, failed, open};
use super::declared::declared_type;
use super::decode::{Pending, Seen, schema_of};
use crate::column::{ColumnType, SAMPLE_BYTES, SAMPLE_ROWS};
use crate::flow::{Flow, Rows, Source, fault};
use crate::ident::sql_ident;

const BATCH_ROWS: usize = 4096;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const BATCHES_AHEAD: usize = 3;

/// Reads an SQLite database.
#[derive(Debug, Clone)]
pub(crate) struct SqliteSource {
    config: SqliteSourceConfig,
}

impl SqliteSource {
    pub(crate) fn new(config: SqliteSourceConfig) -> Self {
        Self { config }
    }

    fn sql(&self) -> Result<String, StepError> {
        match (&self.config.table, &self.config.query) {
            (Some(table), None) => Ok(format!("SELECT * FROM {}", sql_ident(table)?)),
            (None, Some(query)) if is_one_statement(query) => Ok(query.clone()),
            (None, Some(_)) => Err(StepError::permanent(
                "the query has more than one statement; a source reads the rows of one query",
            )),
            _ => Err(StepError::permanent(
                "an sqlite source takes either a `table` or a `query`",
            )),
        }
    }
}

/// Whether nothing but space and comments follows the first statement. What follows would be run too, and not every statement
/// is harmless on a connection that only reads: `VACUUM INTO` writes a file.
fn is_one_statement(sql: &str) -> bool {
    let mut rest = sql;
    let mut has_ended = false;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' | '`' => Some(first.to_string()),
            '[' => Some("]".to_owned()),
            '-' if rest.starts_with("--") => Some("\n".to_owned()),
            '/' if rest.starts_with("/*") => Some("*/".to_owned()),
            _ => None,
        };
        let is_comment = matches!(first, '-' | '/') && end.is_some();
        if has_ended && !(first.is_whitespace() || first == ';' || is_comment) {
            return false;
        }
        has_ended |= first == ';';
        // The mark that begins a comment is not looked at for its end. A doubled quote ends one text and begins another.
        let begin = if is_comment { 2 } else { first.len_utf8() };
        rest = &rest[begin..];
        if let Some(end) = end {
            rest = rest
                .split_once(end.as_str())
                .map_or("", |(_, behind)| behind);
        }
    }
    true
}

#[async_trait]
impl Source for SqliteSource {
    async fn open(&self, flow: &Flow) -> Result<Rows, StepError> {
        let connection = open(&self.config.url, &flow.ctx, Access::Read).await?;
        let (batch_sender, batch_receiver) = mpsc::channel(BATCHES_AHEAD);
        let (schema_sender, schema_receiver) = oneshot::channel();
        let reading = Reading {
            source: self.clone(),
            sql: self.sql()?,
            flow: flow.clone(),
            batches: batch_sender,
        };
        // The rows borrow the connection, so both live in one task.
        let task = tokio::spawn(reading.run(connection, schema_sender));
        let Ok(schema) = schema_receiver.await else {
            return Err(match task.await {
                Ok(Err(error)) => error,
                Ok(Ok(())) => StepError::permanent("reading the database ended early"),
                Err(error) => fault::panicked("reading the database", error),
            });
        };
        let batches = stream::unfold(Some((batch_receiver, task)), |state| async move {
            let (mut receiver, task) = state?;
            match receiver.recv().await {
                Some(batch) => Some((Ok(batch), Some((receiver, task)))),
                None => match task.await {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some((Err(error), None)),
                    Err(error) => Some((Err(fault::panicked("reading the database", error)), None)),
                },
            }
        })
        .boxed();
        Ok(Rows { schema, batches })
    }
}

struct Reading {
    source: SqliteSource,
    sql: String,
    flow: Flow,
    batches: mpsc::Sender<arrow::array::RecordBatch>,
}

impl Reading {
    async fn run(
        self,
        mut connection: SqliteConnection,
        schema_sender: oneshot::Sender<arrow::datatypes::SchemaRef>,
    ) -> Result<(), StepError> {
        let config = &self.source.config;
        let reading = |error| failed(&format!("reading {}", config.url), error);
        // The text of `query` is the user's own, and the connection can only read.
        let sql = || AssertSqlSafe(self.sql.clone()).into_sql_str();
        begin_read(&mut connection, &config.url, &self.flow).await?;
        let statement = (&mut connection).prepare(sql()).await.map_err(reading)?;
        let names: Vec<String> = statement
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        let mut seen = Vec::with_capacity(names.len());
        for column in statement.columns() {
            let declared = declared_type(column, &mut connection)
                .await
                .map_err(reading)?;
            seen.push(Seen::new(declared));
        }
        drop(statement);
        if names.is_empty() {
            return Err(StepError::permanent("the query gives no column"));
        }
        let mut unique = std::collections::BTreeSet::new();
        if let Some(twice) = names.iter().find(|name| !unique.insert(name.as_str())) {
            return Err(StepError::permanent(format!(
                "the query gives two columns named {twice:?}; give one of them another name with AS"
            )));
        }
        let mut pending = Pending::new(names.len());
        let mut settled: Option<(arrow::datatypes::SchemaRef, Vec<ColumnType>)> = None;
        let mut schema_sender = Some(schema_sender);
        let mut first = 1;
        let query = sqlx::query(sql());
        let mut rows = query.fetch(&mut connection);
        loop {
            self.flow.check()?;
            let row = rows.next().await.transpose().map_err(reading)?;
            let is_end = row.is_none();
            if let Some(row) = row {
                let sampling = settled.is_none().then_some(&mut seen);
                pending.add(&row, sampling).map_err(reading)?;
            }
            if settled.is_none()
                && (is_end || pending.rows() >= SAMPLE_ROWS || pending.bytes() >= SAMPLE_BYTES)
            {
                let types: Vec<_> = seen.iter().map(Seen::column_type).collect();
                let schema = schema_of(&names, &types);
                if let Some(sender) = schema_sender.take() {
                    // Nobody waits any more: the step is being dropped.
                    if sender.send(schema.clone()).is_err() {
                        return Ok(());
                    }
                }
                settled = Some((schema, types));
            }
            let Some((schema, types)) = &settled else {
                continue;
            };
            let is_full = pending.rows() >= BATCH_ROWS || pending.bytes() >= BATCH_BYTES;
            if pending.rows() > 0 && (is_full || is_end) {
                let count = pending.rows() as u64;
                self.flow.meter.add_rows(count);
                let (batch, bad) = pending.take(schema, types, &config.url, first)?;
                first += count;
                for record in &bad {
                    self.flow.quarantine.take(record, config.limit())?;
                }
                if batch.num_rows() > 0 && self.batches.send(batch).await.is_err() {
                    return Ok(());
                }
            }
            if is_end {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_one_statement;

    #[test]
    fn a_semicolon_ends_a_statement_only_outside_of_text_names_and_comments() {
        for one in [
            "SELECT 1",
            "SELECT 1;",
            "SELECT 1 ;; -- the end; really\n /* ; */ ",
            "SELECT ';' AS \"a;b\", [c;d], `e;f`, 'it''s; fine'",
            "-- a; b\nSELECT 1 /* ; */ - 2 / 3",
            "",
        ] {
            assert!(is_one_statement(one), "{one}");
        }
        for more in [
            "SELECT 1; SELECT 2",
            "SELECT ''; VACUUM INTO 'x'",
            "SELECT 1 /* ' */; SELECT '2'",
            "SELECT 1 -- '\n; SELECT 2",
            ";SELECT 1",
        ] {
            assert!(!is_one_statement(more), "{more}");
        }
    }
}
