//! The legal transitions, enforced by the database itself: triggers made from the engine's own tables.

use etl_store_sql::{Guard, GuardedEvent, Result, guards};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

/// Makes the triggers be exactly those of this version of the engine.
pub(crate) async fn install(conn: &mut SqliteConnection) -> Result<()> {
    let wanted = wanted();
    let present: Vec<(String, String)> =
        sqlx::query_as("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
            .fetch_all(&mut *conn)
            .await?;
    if present == wanted {
        return Ok(());
    }
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    for (name, _) in &present {
        let sql = format!("DROP TRIGGER \"{}\"", name.replace('"', "\"\""));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    for (_, sql) in wanted {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Every trigger as (name, SQL), by name.
fn wanted() -> Vec<(String, String)> {
    let guards = guards().into_iter();
    guards
        .map(|guard| (guard.name.into(), sql(&guard)))
        .collect()
}

fn sql(guard: &Guard) -> String {
    let Guard {
        name,
        table,
        when,
        message,
        ..
    } = guard;
    let event = match guard.event {
        GuardedEvent::Insert => "INSERT".to_owned(),
        GuardedEvent::Update(columns) => format!("UPDATE OF {}", columns.join(", ")),
    };
    format!(
        "CREATE TRIGGER {name} BEFORE {event} ON {table} WHEN {when} BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )
}

#[cfg(test)]
mod tests;
