//! What the database itself refuses, whoever asks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

use etl_core::model::{JobStatus, StepStatus, job_transition, step_transition};
use etl_store_postgres::{Options, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use place::Place;

async fn open(place: &Place) -> PostgresStore {
    let options = Options {
        schema: Some(place.schema().into()),
        clock: None,
        log_days: None,
    };
    PostgresStore::open(place.url(), options).await.unwrap()
}

/// A connection to the tables, on which foreign keys are not checked.
async fn shell(place: &Place) -> PgConnection {
    let mut conn = PgConnection::connect(place.url()).await.unwrap();
    let path = format!("SET search_path = {}", place.schema());
    run(&mut conn, &path).await.unwrap();
    let alter = "DO $$ DECLARE c record; BEGIN
        FOR c IN SELECT conrelid::regclass AS of, conname FROM pg_constraint WHERE contype = 'f'
            AND conrelid IN ('job_executions'::regclass, 'step_executions'::regclass)
        LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.of, c.conname); END LOOP; END $$";
    run(&mut conn, alter).await.unwrap();
    conn
}

async fn run(conn: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(conn).await.map(|_| ())
}

/// The one job, put into a state by taking away what forbids it for a moment.
async fn put_job(conn: &mut PgConnection, status: JobStatus) {
    let sql = "
        ALTER TABLE job_executions DISABLE TRIGGER etl_job_guard;
        DELETE FROM job_executions;
        INSERT INTO job_executions (id, pipeline_id, pipeline_version, status, trigger_type, triggered_by, waiting_since,
            lease_expires_at, created_at)
        VALUES (gen_random_uuid(), gen_random_uuid(), 1, 'STATUS', 'api', 'me', now(),
            CASE WHEN 'STATUS' = 'running' THEN now() END, now());
        ALTER TABLE job_executions ENABLE TRIGGER etl_job_guard";
    run(conn, &sql.replace("STATUS", status.as_str()))
        .await
        .unwrap();
}

async fn put_step(conn: &mut PgConnection, status: StepStatus) {
    let sql = "
        ALTER TABLE step_executions DISABLE TRIGGER etl_step_guard;
        DELETE FROM step_executions;
        INSERT INTO step_executions (id, job_id, step_id, order_index, status, created_at)
        VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 0, 'STATUS', now());
        ALTER TABLE step_executions ENABLE TRIGGER etl_step_guard";
    run(conn, &sql.replace("STATUS", status.as_str()))
        .await
        .unwrap();
}

#[tokio::test]
async fn rows_take_exactly_the_moves_of_the_table() {
    let place = Place::new();
    let store = open(&place).await;
    let mut conn = shell(&place).await;
    for &from in JobStatus::ALL {
        for &to in JobStatus::ALL {
            put_job(&mut conn, from).await;
            let sql = "UPDATE job_executions SET status = 'TO',
                lease_expires_at = CASE WHEN 'TO' = 'running' THEN now() END";
            let moved = run(&mut conn, &sql.replace("TO", to.as_str())).await;
            let is_legal = from == to || job_transition(from, to).is_some();
            assert_eq!(moved.is_ok(), is_legal, "{from} to {to}: {moved:?}");
        }
    }
    for &from in StepStatus::ALL {
        for &to in StepStatus::ALL {
            put_step(&mut conn, from).await;
            let sql = format!("UPDATE step_executions SET status = '{to}'");
            let moved = run(&mut conn, &sql).await;
            let is_legal = from == to || step_transition(from, to);
            assert_eq!(moved.is_ok(), is_legal, "{from} to {to}: {moved:?}");
        }
    }
    store.close().await;
}

#[tokio::test]
async fn an_ended_row_keeps_its_verdict_and_a_fence_never_falls() {
    let place = Place::new();
    let store = open(&place).await;
    let mut conn = shell(&place).await;
    put_job(&mut conn, JobStatus::Failed).await;
    put_step(&mut conn, StepStatus::Success).await;
    for (sql, stands) in [
        ("UPDATE job_executions SET error_message = 'other'", false),
        ("UPDATE job_executions SET fence = 7", false),
        ("UPDATE step_executions SET output_data = '1'", false),
        ("UPDATE step_executions SET attempt = 2", false),
        ("UPDATE step_executions SET attempt = attempt", true),
    ] {
        assert_eq!(run(&mut conn, sql).await.is_ok(), stands, "{sql}");
    }
    put_job(&mut conn, JobStatus::Running).await;
    for (sql, stands) in [
        ("UPDATE job_executions SET fence = 3", true),
        ("UPDATE job_executions SET fence = 2", false),
        ("UPDATE job_executions SET lease_expires_at = NULL", false),
    ] {
        assert_eq!(run(&mut conn, sql).await.is_ok(), stands, "{sql}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_guard_that_was_changed_or_taken_away_is_made_anew_and_one_that_is_right_is_left() {
    let place = Place::new();
    open(&place).await.close().await;
    let mut conn = shell(&place).await;
    let versions = "SELECT xmin::text FROM pg_proc WHERE pronamespace = current_schema::regnamespace
        AND proname IN ('etl_job_guard', 'etl_step_guard')
        UNION ALL SELECT xmin::text FROM pg_trigger WHERE tgname IN ('etl_job_guard', 'etl_step_guard')
            AND tgrelid IN ('job_executions'::regclass, 'step_executions'::regclass)";
    let read = async |conn: &mut PgConnection| {
        let rows: Vec<String> = sqlx::query_scalar(versions).fetch_all(conn).await.unwrap();
        rows
    };
    let first = read(&mut conn).await;
    assert_eq!(first.len(), 4);
    open(&place).await.close().await;
    assert_eq!(read(&mut conn).await, first);

    for harm in [
        "CREATE OR REPLACE FUNCTION etl_step_guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "ALTER TABLE step_executions DISABLE TRIGGER etl_step_guard",
        "DROP TRIGGER etl_step_guard ON step_executions",
    ] {
        run(&mut conn, harm).await.unwrap();
        open(&place).await.close().await;
        put_step(&mut conn, StepStatus::Success).await;
        let back = run(&mut conn, "UPDATE step_executions SET status = 'pending'").await;
        assert!(back.is_err(), "{harm}");
    }
}
