//! Reads rows from a database.

use async_trait::async_trait;
use etl_core::model::StepError;
use futures_util::stream::{self, StreamExt};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Column, Executor, SqlSafeStr, Statement, TypeInfo};
use tokio::sync::{mpsc, oneshot};

use super::config::SqliteSourceConfig;
use super::connection::{Access, failed, open};
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
            (None, Some(query)) => Ok(query.clone()),
            _ => Err(StepError::permanent(
                "an sqlite source takes either a `table` or a `query`",
            )),
        }
    }
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
        let statement = (&mut connection).prepare(sql()).await.map_err(reading)?;
        let names: Vec<String> = statement
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        let mut seen: Vec<Seen> = statement
            .columns()
            .iter()
            .map(|column| Seen::new(column.type_info().name()))
            .collect();
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
