//! The target table and the statements that write to it.

use arrow::datatypes::{Schema, SchemaRef};
use etl_core::model::StepError;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr};

use super::config::{SqliteMode, SqliteSinkConfig};
use super::connection::failed;
use super::declared::{declaration, keeps};
use crate::ident::sql_ident;

/// The most values that one statement binds, by SQLite's default limit.
const MAX_VALUES: usize = 32_766;

/// The most rows of one statement: more gain nothing.
const MAX_ROWS: usize = 256;

/// A target table, ready to be written.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    columns: Vec<String>,
    on_conflict: String,
}

impl Table {
    /// Makes the table what `mode` asks for before the rows come. Call it within the transaction.
    pub(super) async fn prepare(
        connection: &mut SqliteConnection,
        config: &SqliteSinkConfig,
        schema: &SchemaRef,
    ) -> Result<Self, StepError> {
        let name = sql_ident(&config.table)?;
        let mut existing = columns_of(connection, &config.table).await?;
        if config.mode == SqliteMode::Replace && !existing.is_empty() {
            if fits(schema, &existing) {
                // Emptied and not dropped, the table keeps its indexes and constraints.
                run(connection, format!("DELETE FROM {name}")).await?;
            } else {
                run(connection, format!("DROP TABLE {name}")).await?;
                existing.clear();
            }
        }
        for key in &config.key {
            if schema.column_with_name(key).is_none() {
                return Err(StepError::permanent(format!(
                    "`key` names {key:?}, which is no column of the rows; they have {}",
                    names(schema)
                )));
            }
        }
        if existing.is_empty() {
            create(connection, config, schema).await?;
        } else {
            let unknown = schema
                .fields()
                .iter()
                .find(|field| declared_as(field.name(), &existing).is_none());
            if let Some(field) = unknown {
                let known: Vec<_> = existing.iter().map(|(name, _)| name.as_str()).collect();
                return Err(StepError::permanent(format!(
                    "the rows have a column {:?}, which the table {:?} does not have; its columns are {}",
                    field.name(),
                    config.table,
                    known.join(", ")
                )));
            }
        }
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| sql_ident(field.name()))
            .collect::<Result<_, _>>()?;
        let table = Self {
            name,
            on_conflict: on_conflict(config, schema)?,
            columns,
        };
        table.refuse_unusable_key(connection, config).await?;
        Ok(table)
    }

    /// An upsert is only possible where the database itself sees to it that a key comes once.
    async fn refuse_unusable_key(
        &self,
        connection: &mut SqliteConnection,
        config: &SqliteSinkConfig,
    ) -> Result<(), StepError> {
        let sql = AssertSqlSafe(self.insert(1)).into_sql_str();
        match connection.prepare(sql).await {
            Err(error) if config.mode == SqliteMode::Upsert => Err(StepError::permanent(format!(
                "`mode: upsert` can't write to table {:?}, which needs a unique index on exactly the columns of `key`: {}",
                config.table,
                config.key.join(", ")
            ))
            .because(error)),
            // Any other fault comes again with the first row.
            _ => Ok(()),
        }
    }

    /// How many rows one statement takes.
    pub(super) fn rows_per_statement(&self) -> usize {
        (MAX_VALUES / self.columns.len().max(1)).clamp(1, MAX_ROWS)
    }

    /// The statement that writes `rows` rows.
    pub(super) fn insert(&self, rows: usize) -> String {
        let values = format!("({})", vec!["?"; self.columns.len()].join(","));
        format!(
            "INSERT INTO {} ({}) VALUES {}{}",
            self.name,
            self.columns.join(", "),
            vec![values; rows].join(","),
            self.on_conflict
        )
    }
}

async fn run(connection: &mut SqliteConnection, sql: String) -> Result<(), StepError> {
    // Every name in it went through `sql_ident`.
    sqlx::query(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| failed("preparing the table", error))
}

/// The columns of a table and what they are declared as; none if there is no such table.
async fn columns_of(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<Vec<(String, String)>, StepError> {
    let looking = |error| failed(&format!("looking at table {table:?}"), error);
    let rows = sqlx::query("SELECT name, type FROM pragma_table_info(?)")
        .bind(table)
        .fetch_all(connection)
        .await
        .map_err(looking)?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, _>>()
        .map_err(looking)
}

/// What the column `name` is declared as.
fn declared_as<'a>(name: &str, existing: &'a [(String, String)]) -> Option<&'a str> {
    let found = existing
        .iter()
        .find(|(column, _)| column.eq_ignore_ascii_case(name));
    found.map(|(_, declared)| declared.as_str())
}

/// Whether a table has just the columns of the rows, and keeps their values as they are.
fn fits(schema: &Schema, existing: &[(String, String)]) -> bool {
    schema.fields().len() == existing.len()
        && schema.fields().iter().all(|field| {
            declared_as(field.name(), existing).is_some_and(|declared| keeps(field, declared))
        })
}

async fn create(
    connection: &mut SqliteConnection,
    config: &SqliteSinkConfig,
    schema: &SchemaRef,
) -> Result<(), StepError> {
    let mut parts: Vec<String> = Vec::new();
    for field in schema.fields() {
        let not_null = if config.key.contains(field.name()) {
            " NOT NULL"
        } else {
            ""
        };
        parts.push(format!(
            "{} {}{not_null}",
            sql_ident(field.name())?,
            declaration(field)
        ));
    }
    if !config.key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", idents(&config.key)?));
    }
    let name = sql_ident(&config.table)?;
    run(
        connection,
        format!("CREATE TABLE {name} ({})", parts.join(", ")),
    )
    .await
}

fn on_conflict(config: &SqliteSinkConfig, schema: &Schema) -> Result<String, StepError> {
    if config.mode != SqliteMode::Upsert {
        return Ok(String::new());
    }
    let others: Vec<String> = schema
        .fields()
        .iter()
        .filter(|field| !config.key.contains(field.name()))
        .map(|field| sql_ident(field.name()).map(|name| format!("{name} = excluded.{name}")))
        .collect::<Result<_, _>>()?;
    let key = idents(&config.key)?;
    Ok(if others.is_empty() {
        format!(" ON CONFLICT ({key}) DO NOTHING")
    } else {
        format!(" ON CONFLICT ({key}) DO UPDATE SET {}", others.join(", "))
    })
}

fn idents(names: &[String]) -> Result<String, StepError> {
    let quoted: Vec<String> = names
        .iter()
        .map(|name| sql_ident(name))
        .collect::<Result<_, _>>()?;
    Ok(quoted.join(", "))
}

fn names(schema: &Schema) -> String {
    let names: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    names.join(", ")
}
