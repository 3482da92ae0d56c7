//! What a job costs does not grow with what is stored beside it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

use std::time::Duration;

use etl_core::contract::store::{
    Catalog as _, ClaimRequest, JobStore as _, Journal, PutPipeline, ReapRequest,
};
use etl_core::model::{By, Commit, JobStatus, StepKey, StepStatus, Timestamp, Verdict};
use etl_core::testing::build::{a_worker, ends, moves};
use etl_core::testing::{a_pipeline, new_job};
use etl_store_postgres::{Options, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use place::Place;

/// How many jobs have ended before.
const STORED: i64 = 5000;

async fn open(place: &Place) -> PostgresStore {
    let options = Options {
        schema: Some(place.schema().into()),
        clock: None,
        log_days: None,
    };
    PostgresStore::open(place.url(), options).await.unwrap()
}

/// How many rows of the two large tables were read by going through a table from end to end.
async fn read_through(conn: &mut PgConnection, place: &Place) -> i64 {
    sqlx::query_scalar(
        "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables
        WHERE schemaname = $1 AND relname IN ('job_executions', 'step_executions')",
    )
    .bind(place.schema())
    .fetch_one(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn no_statement_of_a_jobs_life_reads_a_table_from_end_to_end() {
    let place = Place::new();
    let store = open(&place).await;
    let put = PutPipeline {
        document: a_pipeline("p").step("a").build(),
        expected_version: None,
        by: By::system(),
    };
    store.put_pipeline(put).await.unwrap();
    let pipeline = store.pipeline("default", "p", None).await.unwrap();
    let pipeline = pipeline.unwrap();
    let id = pipeline.reference.id;

    let mut conn = PgConnection::connect(place.url()).await.unwrap();
    let fill = format!(
        "SET search_path = {};
        ALTER TABLE job_executions DISABLE TRIGGER etl_job_guard;
        INSERT INTO job_executions (id, pipeline_id, pipeline_version, status, trigger_type, triggered_by, waiting_since, created_at)
        SELECT gen_random_uuid(), '{id}', 1, 'success', 'api', 'me', now(), now() FROM generate_series(1, {STORED});
        ALTER TABLE job_executions ENABLE TRIGGER etl_job_guard;
        INSERT INTO step_executions (id, job_id, step_id, order_index, status, created_at)
        SELECT gen_random_uuid(), id, gen_random_uuid(), 0, 'success', now() FROM job_executions;
        ANALYZE job_executions; ANALYZE step_executions;
        SELECT pg_stat_force_next_flush()",
        place.schema()
    );
    sqlx::raw_sql(AssertSqlSafe(fill))
        .execute(&mut conn)
        .await
        .unwrap();
    let before = read_through(&mut conn, &place).await;

    let job = new_job(&pipeline);
    store.submit(job.clone()).await.unwrap();
    let waiting = store.waiting(Duration::ZERO, 10).await.unwrap();
    assert_eq!(waiting.len(), 1);
    store.dispatched(&[job.id]).await.unwrap();
    let worker = a_worker();
    let want = ClaimRequest {
        worker,
        jobs: Some(vec![job.id]),
        limit: 1,
        ttl: Duration::from_mins(1),
        tags: Vec::new(),
    };
    let lease = store.claim(want).await.unwrap()[0].lease;
    store
        .renew(worker, &[lease], Duration::from_mins(1))
        .await
        .unwrap();
    let reap = ReapRequest {
        job: None,
        limit: 10,
    };
    store.reap(reap).await.unwrap();
    let step = StepKey::step(0);
    let commit = Commit {
        lease,
        seq: 1,
        at: Timestamp::from_seconds(1),
        lines: Vec::new(),
        changes: vec![
            moves(step, StepStatus::Running),
            moves(step, StepStatus::Success),
            ends(JobStatus::Success),
        ],
    };
    assert_eq!(store.commit(&[commit]).await.unwrap(), [Verdict::Applied]);
    assert!(Journal::job(&store, job.id).await.unwrap().is_some());
    // What a connection counted is told when it ends, at the latest.
    store.close().await;

    let after = read_through(&mut conn, &place).await;
    assert!(
        after - before < STORED,
        "{} rows were read through",
        after - before
    );
}
