//! Writes rows to a table, all in one transaction.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use etl_core::model::{EffectClass, Place, StepError};
use futures_util::StreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};

use super::config::SqliteSinkConfig;
use super::connection::{Access, begin_write, commit, failed, open};
use super::encode::{Bindable, bindable};
use super::ledger::{Earlier, earlier, remember};
use super::table::Table;
use crate::flow::{Batches, Flow, Loaded, Rows, Sink, Staged};

/// Writes to an SQLite table.
#[derive(Debug, Clone)]
pub(crate) struct SqliteSink {
    config: SqliteSinkConfig,
}

impl SqliteSink {
    pub(crate) fn new(config: SqliteSinkConfig) -> Result<Self, StepError> {
        match config.faults().first() {
            Some((key, message)) => Err(StepError::permanent(format!(
                "sqlite sink: `{key}`: {message}"
            ))),
            None => Ok(Self { config }),
        }
    }
}

#[async_trait]
impl Sink for SqliteSink {
    fn effects(&self) -> EffectClass {
        EffectClass::Transactional
    }

    async fn stage(&self, rows: Rows, flow: &Flow) -> Result<Box<dyn Staged>, StepError> {
        let Rows {
            schema,
            mut batches,
        } = rows;
        let config = &self.config;
        // The first batch is awaited before anything else: a source that fails leaves no new file, and while a slow one starts,
        // others may write.
        let next = batches.next().await.transpose()?;
        let mut connection = open(&config.url, &flow.ctx, Access::Write).await?;
        begin_write(&mut connection, &config.url, flow).await?;
        let mut load = Load {
            connection,
            rows: 0,
            bytes: 0,
            config: config.clone(),
        };
        match load.fill(next, batches, &schema, flow).await {
            Ok(()) => Ok(Box::new(load)),
            Err(error) => {
                load.close().await;
                Err(error)
            }
        }
    }
}

/// An open transaction with rows in it. Dropped, the connection closes and the transaction is rolled back.
struct Load {
    connection: SqliteConnection,
    rows: u64,
    bytes: u64,
    config: SqliteSinkConfig,
}

impl Load {
    /// Writes all rows, unless an earlier attempt has done so.
    async fn fill(
        &mut self,
        mut next: Option<RecordBatch>,
        mut batches: Batches,
        schema: &SchemaRef,
        flow: &Flow,
    ) -> Result<(), StepError> {
        let earlier = earlier(&mut self.connection, &self.config.table, &flow.ctx).await?;
        // In every mode: what others wrote since must not be undone by rows that were there before it.
        if earlier == Earlier::Loaded {
            flow.ctx
                .info("an earlier attempt of this step has loaded its rows; none is added again")
                .await;
            // The rows are still read to the end, so that the counts and the quarantine are this attempt's own.
            while let Some(batch) = next {
                self.count(&batch);
                next = batches.next().await.transpose()?;
            }
            return Ok(());
        }
        let table = Table::prepare(&mut self.connection, &self.config, schema).await?;
        while let Some(batch) = next {
            self.write(&table, &batch, flow).await?;
            next = batches.next().await.transpose()?;
        }
        Ok(())
    }

    /// Closes the connection, and with it a transaction that is still open. Merely dropped it would do so too, but later, and
    /// hold the lock until then.
    async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "closing an SQLite database failed");
        }
    }

    async fn commit(&mut self, flow: &Flow) -> Result<(), StepError> {
        let Self {
            connection, config, ..
        } = self;
        remember(connection, &config.table, self.rows, &flow.ctx).await?;
        commit(connection, &config.url, flow).await
    }

    fn count(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        self.bytes += batch.get_array_memory_size() as u64;
    }

    async fn write(
        &mut self,
        table: &Table,
        batch: &RecordBatch,
        flow: &Flow,
    ) -> Result<(), StepError> {
        let columns = bindable(batch)?;
        self.refuse_null_keys(batch, &columns)?;
        let most = table.rows_per_statement();
        let full = table.insert(most);
        let mut from = 0;
        while from < batch.num_rows() {
            flow.check()?;
            let count = most.min(batch.num_rows() - from);
            let mut arguments = SqliteArguments::default();
            for row in from..from + count {
                for column in &columns {
                    column.bind(row, &mut arguments)?;
                }
            }
            let sql = if count == most {
                full.clone()
            } else {
                table.insert(count)
            };
            // Names went through `sql_ident`, values are bound.
            sqlx::query_with(AssertSqlSafe(sql), arguments)
                .persistent(count == most)
                .execute(&mut self.connection)
                .await
                .map_err(|error| {
                    failed(&format!("writing to table {:?}", self.config.table), error)
                })?;
            from += count;
        }
        self.count(batch);
        Ok(())
    }

    /// Two rows with a null key are two different rows to SQLite, which no upsert is meant to do.
    fn refuse_null_keys(&self, batch: &RecordBatch, columns: &[Bindable]) -> Result<(), StepError> {
        for key in &self.config.key {
            let Some((index, _)) = batch.schema_ref().column_with_name(key) else {
                continue;
            };
            if let Some(row) = (0..batch.num_rows()).find(|row| columns[index].is_null(*row)) {
                return Err(
                    StepError::permanent("a row has no value in a column of `key`").at(Place {
                        column: Some(key.clone()),
                        row: Some(self.rows + row as u64 + 1),
                        ..Place::default()
                    }),
                );
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Staged for Load {
    async fn publish(mut self: Box<Self>, flow: &Flow) -> Result<Loaded, StepError> {
        let committed = self.commit(flow).await;
        let loaded = Loaded {
            rows: self.rows,
            bytes: self.bytes,
            files: vec![format!("{}#{}", self.config.url, self.config.table)],
        };
        // What is committed stays committed, whether or not the file closes well.
        self.close().await;
        committed.map(|()| loaded)
    }
}
