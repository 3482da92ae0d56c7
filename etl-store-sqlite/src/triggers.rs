//! The legal transitions, enforced by the database itself: triggers made from the engine's own tables.

use std::fmt::Write;

use etl_core::model::{JOB_TRANSITIONS, JobStatus, STEP_TRANSITIONS, StepStatus};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use etl_store_sql::Result;

/// What an ended job may not change in any more, besides its status.
const JOB_VERDICT: &str = "id, pipeline_id, pipeline_version, parameters, fence, commit_seq, started_at, completed_at, \
     duration_ms, rows_processed, bytes_transferred, error_message, error_stack";
/// What a settled step may not change in any more, besides its status.
const STEP_VERDICT: &str = "id, job_id, order_index, item_index, attempt, started_at, completed_at, duration_ms, \
     output_data, artifacts, items, skip_reason, rows_processed, bytes_transferred, error_class, error_message, \
     error_stack";

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
    let job_moves = moves(
        JobStatus::ALL,
        |from, to| {
            JOB_TRANSITIONS
                .iter()
                .any(|(f, t, _)| (*f, *t) == (from, to))
        },
        JobStatus::as_str,
    );
    let step_moves = moves(
        StepStatus::ALL,
        |from, to| STEP_TRANSITIONS.contains(&(from, to)),
        StepStatus::as_str,
    );
    let job_ends = words(JobStatus::ALL, |status| {
        status.is_terminal().then(|| status.as_str())
    });
    let step_ends = words(StepStatus::ALL, |status| {
        status.is_terminal().then(|| status.as_str())
    });
    let mut all = vec![
        refusal(
            "job_moves",
            "UPDATE OF status ON job_executions",
            &format!("OLD.status <> NEW.status AND NOT ({job_moves})"),
            "a job can not move so",
        ),
        refusal(
            "job_ended",
            &format!("UPDATE OF {JOB_VERDICT} ON job_executions"),
            &format!("OLD.status IN ({job_ends})"),
            "a job that has ended does not change",
        ),
        refusal(
            "job_fence",
            "UPDATE OF fence ON job_executions",
            "NEW.fence < OLD.fence",
            "a fence does not get smaller",
        ),
        refusal(
            "job_starts",
            "INSERT ON job_executions",
            "NEW.status <> 'pending'",
            "a job starts as pending",
        ),
        refusal(
            "step_moves",
            "UPDATE OF status ON step_executions",
            &format!("OLD.status <> NEW.status AND NOT ({step_moves})"),
            "a step can not move so",
        ),
        refusal(
            "step_ended",
            &format!("UPDATE OF {STEP_VERDICT} ON step_executions"),
            &format!("OLD.status IN ({step_ends})"),
            "a step that is settled does not change",
        ),
        refusal(
            "step_starts",
            "INSERT ON step_executions",
            "NEW.status NOT IN ('pending', 'success')",
            "a step starts as pending, or as success if its result is taken over",
        ),
    ];
    all.sort();
    all
}

fn refusal(name: &str, event: &str, when: &str, message: &str) -> (String, String) {
    let sql = format!(
        "CREATE TRIGGER {name} BEFORE {event} WHEN {when} BEGIN SELECT RAISE(ABORT, '{message}'); END"
    );
    (name.into(), sql)
}

/// `OLD.status = 'a' AND NEW.status IN ('b', 'c') OR …`
fn moves<S: Copy>(
    all: &[S],
    may: impl Fn(S, S) -> bool,
    word: impl Fn(S) -> &'static str,
) -> String {
    let mut text = String::new();
    for &from in all {
        let targets = words(all, |to| may(from, to).then(|| word(to)));
        if targets.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push_str(" OR ");
        }
        let _ = write!(
            text,
            "OLD.status = '{}' AND NEW.status IN ({targets})",
            word(from)
        );
    }
    text
}

fn words<S: Copy>(all: &[S], pick: impl Fn(S) -> Option<&'static str>) -> String {
    let quoted: Vec<_> = all
        .iter()
        .filter_map(|&status| pick(status))
        .map(|word| format!("'{word}'"))
        .collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests;
