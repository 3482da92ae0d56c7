//! The legal transitions, enforced by the database itself: trigger functions made from the engine's own tables.

use std::fmt::Write as _;

use etl_store_sql::{Guard, GuardedEvent, Result, guards};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The trigger functions, each with the table that it guards.
const FUNCTIONS: [(&str, &str); 2] = [
    ("etl_job_guard", "job_executions"),
    ("etl_step_guard", "step_executions"),
];

/// Makes the triggers be exactly those of this version of the engine. Whoever calls holds the lock of migrations.
pub(crate) async fn install(conn: &mut PgConnection) -> Result<()> {
    let guards = guards();
    let mut tx = conn.begin().await?;
    for (name, table) in FUNCTIONS {
        let body = body(table, &guards);
        if is_there(&mut tx, name, table, &body).await? {
            continue;
        }
        let sql = format!(
            "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$;
            CREATE OR REPLACE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {name}();
            ALTER TABLE {table} ENABLE TRIGGER {name}"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Whether the table has the trigger, it fires, and its function has this body.
async fn is_there(conn: &mut PgConnection, name: &str, table: &str, body: &str) -> Result<bool> {
    let there = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
            WHERE t.tgrelid = to_regclass($2) AND t.tgname = $1 AND t.tgenabled = 'O' AND p.prosrc = $3)",
    )
    .bind(name)
    .bind(table)
    .bind(body)
    .fetch_one(conn)
    .await?;
    Ok(there)
}

/// What a trigger's function does to refuse what the guards of a table refuse.
fn body(table: &str, guards: &[Guard]) -> String {
    let mut body = "BEGIN ".to_owned();
    for guard in guards.iter().filter(|guard| guard.table == table) {
        let Guard { when, message, .. } = guard;
        let refused = match guard.event {
            GuardedEvent::Insert => format!("TG_OP = 'INSERT' AND {when}"),
            GuardedEvent::Update(columns) => {
                format!("TG_OP = 'UPDATE' AND {when} AND ({})", changed(columns))
            }
        };
        let _ = write!(
            body,
            "IF {refused} THEN RAISE EXCEPTION '{message}'; END IF; "
        );
    }
    body.push_str("RETURN NEW; END");
    body
}

/// `NEW.a IS DISTINCT FROM OLD.a OR …`
fn changed(columns: &[&str]) -> String {
    let each = columns
        .iter()
        .map(|column| format!("NEW.{column} IS DISTINCT FROM OLD.{column}"));
    each.collect::<Vec<_>>().join(" OR ")
}
