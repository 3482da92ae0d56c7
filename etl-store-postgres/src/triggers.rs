//! The legal transitions, enforced by the database itself: trigger functions made from the engine's own tables.

use std::fmt::Write;

use etl_core::model::{JOB_TRANSITIONS, JobStatus, STEP_TRANSITIONS, StepStatus};
use etl_store_sql::Result;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// What an ended job may not change in any more, besides its status.
const JOB_VERDICT: &str = "id, pipeline_id, pipeline_version, parameters, fence, commit_seq, started_at, completed_at, \
     duration_ms, rows_processed, bytes_transferred, error_message, error_stack";
/// What a settled step may not change in any more, besides its status.
const STEP_VERDICT: &str = "id, job_id, order_index, item_index, attempt, started_at, completed_at, duration_ms, \
     output_data, artifacts, items, skip_reason, rows_processed, bytes_transferred, error_class, error_message, \
     error_stack";

/// Makes the triggers be exactly those of this version of the engine. Whoever calls holds the lock of migrations.
pub(crate) async fn install(conn: &mut PgConnection) -> Result<()> {
    let wanted = wanted();
    let mark = format!("etl {:016x}", hash(&wanted));
    let present: Option<String> =
        sqlx::query_scalar("SELECT obj_description(to_regproc('etl_job_guard'), 'pg_proc')")
            .fetch_one(&mut *conn)
            .await?;
    if present.as_deref() == Some(mark.as_str()) {
        return Ok(());
    }
    let mut tx = conn.begin().await?;
    for sql in wanted {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    let comment = format!("COMMENT ON FUNCTION etl_job_guard() IS '{mark}'");
    sqlx::raw_sql(AssertSqlSafe(comment))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

fn hash(texts: &[String]) -> u64 {
    // FNV-1a: it has to be the same in every version of the program, and no more.
    texts
        .iter()
        .flat_map(|text| text.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

fn wanted() -> Vec<String> {
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
    let job = [
        (
            "TG_OP = 'INSERT' AND NEW.status <> 'pending'".to_string(),
            "a job starts as pending",
        ),
        (
            format!("TG_OP = 'UPDATE' AND OLD.status <> NEW.status AND NOT ({job_moves})"),
            "a job can not move so",
        ),
        (
            format!(
                "TG_OP = 'UPDATE' AND OLD.status IN ({job_ends}) AND ({})",
                changed(JOB_VERDICT)
            ),
            "a job that has ended does not change",
        ),
        (
            "TG_OP = 'UPDATE' AND NEW.fence < OLD.fence".to_owned(),
            "a fence does not get smaller",
        ),
    ];
    let step = [
        (
            "TG_OP = 'INSERT' AND NEW.status NOT IN ('pending', 'success')".to_owned(),
            "a step starts as pending, or as success if its result is taken over",
        ),
        (
            format!("TG_OP = 'UPDATE' AND OLD.status <> NEW.status AND NOT ({step_moves})"),
            "a step can not move so",
        ),
        (
            format!(
                "TG_OP = 'UPDATE' AND OLD.status IN ({step_ends}) AND ({})",
                changed(STEP_VERDICT)
            ),
            "a step that is settled does not change",
        ),
    ];
    let mut all = guard("etl_job_guard", "job_executions", &job);
    all.extend(guard("etl_step_guard", "step_executions", &step));
    all
}

/// A trigger that refuses a row where a condition holds.
fn guard(name: &str, table: &str, refusals: &[(String, &str)]) -> Vec<String> {
    let mut body = String::new();
    for (when, message) in refusals {
        let _ = write!(body, "IF {when} THEN RAISE EXCEPTION '{message}'; END IF; ");
    }
    vec![
        format!(
            "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}RETURN NEW; END $$"
        ),
        format!(
            "CREATE OR REPLACE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
        ),
    ]
}

/// `NEW.a IS DISTINCT FROM OLD.a OR …`
fn changed(columns: &str) -> String {
    let each = columns.split(", ").map(str::trim);
    let each = each.map(|column| format!("NEW.{column} IS DISTINCT FROM OLD.{column}"));
    each.collect::<Vec<_>>().join(" OR ")
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
