use std::sync::Arc;

use etl_core::model::{JobStatus, StepStatus};
use etl_core::testing::ManualClock;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::*;
use crate::SqliteStore;
use etl_store_sql::Fault;

/// A database with one job of one step, whose rows can be put into any state by taking away what forbids it.
async fn database() -> (tempfile::TempDir, SqliteConnection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etl.db");
    let store = SqliteStore::open(&path, Arc::new(ManualClock::default())).await;
    store.unwrap().close().await;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(false);
    let mut conn = options.connect().await.unwrap();
    let sql = "DROP TRIGGER job_starts; DROP TRIGGER step_starts";
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    (folder, conn)
}

async fn put_job(conn: &mut SqliteConnection, status: JobStatus) {
    let sql = "DELETE FROM job_executions;
        INSERT INTO job_executions (id, pipeline_id, pipeline_version, status, trigger_type, triggered_by, waiting_since,
            lease_expires_at, created_at)
        VALUES ('j', 'p', 1, 'STATUS', 'api', 'me', '', IIF('STATUS' = 'running', '', NULL), '')";
    let sql = AssertSqlSafe(sql.replace("STATUS", status.as_str()));
    sqlx::raw_sql(sql).execute(conn).await.unwrap();
}

async fn put_step(conn: &mut SqliteConnection, status: StepStatus) {
    let sql = "DELETE FROM step_executions;
        INSERT INTO step_executions (id, job_id, step_id, order_index, status, created_at)
        VALUES ('s', 'j', 'x', 0, 'STATUS', '')";
    let sql = AssertSqlSafe(sql.replace("STATUS", status.as_str()));
    sqlx::raw_sql(sql).execute(conn).await.unwrap();
}

#[tokio::test]
async fn a_job_row_takes_exactly_the_moves_of_the_table() {
    let (_folder, mut conn) = database().await;
    for &from in JobStatus::ALL {
        for &to in JobStatus::ALL {
            put_job(&mut conn, from).await;
            let moved = sqlx::query(
                "UPDATE job_executions SET status = ?1, lease_expires_at = IIF(?1 = 'running', '', NULL)",
            )
            .bind(to.as_str())
            .execute(&mut conn)
            .await;
            let legal = etl_core::model::job_transition(from, to).is_some();
            assert_eq!(moved.is_ok(), legal || from == to, "{from} to {to}");
            if let Err(error) = moved {
                assert_eq!(
                    Fault::from(error).kind,
                    etl_core::contract::StoreErrorKind::Illegal
                );
            }
        }
    }
}

#[tokio::test]
async fn a_step_row_takes_exactly_the_moves_of_the_table() {
    let (_folder, mut conn) = database().await;
    for &from in StepStatus::ALL {
        for &to in StepStatus::ALL {
            put_step(&mut conn, from).await;
            let moved = sqlx::query("UPDATE step_executions SET status = ?1")
                .bind(to.as_str())
                .execute(&mut conn)
                .await;
            let legal = etl_core::model::step_transition(from, to);
            assert_eq!(moved.is_ok(), legal || from == to, "{from} to {to}");
        }
    }
}

#[tokio::test]
async fn an_ended_row_keeps_its_verdict_and_a_fence_never_falls() {
    let (_folder, mut conn) = database().await;
    put_job(&mut conn, JobStatus::Failed).await;
    put_step(&mut conn, StepStatus::Success).await;
    for sql in [
        "UPDATE job_executions SET error_message = 'another'",
        "UPDATE job_executions SET fence = 7",
        "UPDATE step_executions SET output_data = '1'",
        "UPDATE step_executions SET attempt = 2",
    ] {
        assert!(
            sqlx::raw_sql(sql).execute(&mut conn).await.is_err(),
            "{sql}"
        );
    }
    put_job(&mut conn, JobStatus::Running).await;
    for (sql, stands) in [
        ("UPDATE job_executions SET fence = 3", true),
        ("UPDATE job_executions SET fence = 2", false),
        ("UPDATE job_executions SET lease_expires_at = NULL", false),
    ] {
        let done = sqlx::raw_sql(sql).execute(&mut conn).await;
        assert_eq!(done.is_ok(), stands, "{sql}");
    }
}

#[tokio::test]
async fn triggers_are_made_anew_only_where_they_differ() {
    let (_folder, mut conn) = database().await;
    let version = "PRAGMA schema_version";
    install(&mut conn).await.unwrap();
    let first: i64 = sqlx::query_scalar(version)
        .fetch_one(&mut conn)
        .await
        .unwrap();
    install(&mut conn).await.unwrap();
    let second: i64 = sqlx::query_scalar(version)
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(first, second);
    let names: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name")
            .fetch_all(&mut conn)
            .await
            .unwrap();
    let wanted: Vec<_> = wanted().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, wanted);
}
