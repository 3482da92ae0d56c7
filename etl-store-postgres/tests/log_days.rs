//! Days of logs: there before they come, and gone when they are old.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

use std::sync::Arc;
use std::time::{Duration, Instant};

use etl_core::contract::store::{Catalog, JobStore, Journal, PutPipeline};
use etl_core::model::{By, JobId, LogLevel, LogLine, Timestamp};
use etl_core::testing::build::{a_pipeline, new_job};
use etl_store_postgres::{Options, PostgresStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use place::Place;

async fn sql(place: &Place, text: &str) -> Vec<String> {
    let mut conn = PgConnection::connect(place.url()).await.unwrap();
    let path = format!("SET search_path = {}", place.schema());
    sqlx::raw_sql(AssertSqlSafe(path))
        .execute(&mut conn)
        .await
        .unwrap();
    let rows = sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .fetch_all(&mut conn)
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

const DAYS: &str = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'job_logs'::regclass ORDER BY 1";

/// The partition of a day that is over.
async fn make_day(place: &Place, ago: u32) {
    let day = format!("(now() AT TIME ZONE 'UTC')::date - {ago}");
    let make = format!(
        "DO $$ DECLARE day date := {day}; BEGIN
            EXECUTE format('CREATE TABLE %I PARTITION OF job_logs FOR VALUES FROM (%L) TO (%L)',
                'job_logs_' || to_char(day, 'YYYYMMDD'), day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
        END $$"
    );
    sql(place, &make).await;
}

async fn open(place: &Place) -> PostgresStore {
    let options = Options {
        schema: Some(place.schema().into()),
        clock: None,
        log_days: Some(3),
    };
    PostgresStore::open(place.url(), options).await.unwrap()
}

#[tokio::test]
async fn days_to_come_are_made_and_old_ones_dropped_while_the_store_is_open() {
    let place = Place::new();
    let store = open(&place).await;
    let made = sql(&place, DAYS).await;
    assert_eq!(made.len(), 4, "today, two more and the rest: {made:?}");

    // As if days had passed: tomorrow is not there yet, and five days have been.
    sql(&place, &format!("DROP TABLE {}", made[1])).await;
    for ago in 2..7 {
        make_day(&place, ago).await;
    }
    assert_eq!(store.tend_log_days().await.unwrap(), 0);
    let tended = sql(&place, DAYS).await;
    assert_eq!(tended.len(), 6, "two old ones are kept: {tended:?}");
    assert!(
        made.iter().all(|day| tended.contains(day)),
        "{made:?} {tended:?}"
    );
    store.close().await;
    assert!(store.tend_log_days().await.is_err());
}

/// A job of the store, so that there is something to write lines of.
async fn a_job(store: &PostgresStore) -> JobId {
    let put = PutPipeline {
        document: a_pipeline("p").step("a").build(),
        expected_version: None,
        by: By::system(),
    };
    store.put_pipeline(put).await.unwrap();
    let stored = store.pipeline("default", "p", None).await.unwrap().unwrap();
    let job = new_job(&stored);
    let id = job.id;
    store.submit(job).await.unwrap();
    id
}

#[tokio::test]
async fn lines_without_a_day_are_deleted_when_they_are_old() {
    let place = Place::new();
    let store = open(&place).await;
    let job = a_job(&store).await;
    let lines = |ago: u32, from: u32, to: u32| {
        format!(
            "INSERT INTO job_logs (job_id, seq, timestamp, level, message, logged_at)
             SELECT '{job}', n, now(), 'INFO', 'm', now() - interval '{ago} days' FROM generate_series({from}, {to}) n"
        )
    };
    sql(&place, &lines(5, 1, 4_500)).await;
    sql(&place, &lines(2, 4_501, 4_503)).await;
    assert_eq!(store.tend_log_days().await.unwrap(), 0);
    let left = store.lines(job, 0, 10).await.unwrap();
    let left: Vec<u64> = left.iter().map(|line| line.seq).collect();
    assert_eq!(left, [4_501, 4_502, 4_503]);
    store.close().await;
}

/// A backup reads for hours: old days wait for its end, and writers don't.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reader_keeps_old_days_and_holds_up_no_writer() {
    let place = Place::new();
    let store = Arc::new(open(&place).await);
    let job = a_job(&store).await;
    for ago in 4..8 {
        make_day(&place, ago).await;
    }
    let mut reader = PgConnection::connect(place.url()).await.unwrap();
    let read = format!(
        "SET search_path = {}; BEGIN; SELECT count(*) FROM job_logs; SELECT count(*) FROM job_executions",
        place.schema()
    );
    sqlx::raw_sql(AssertSqlSafe(read))
        .execute(&mut reader)
        .await
        .unwrap();

    let tending = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.tend_log_days().await.unwrap() })
    };
    let (mut written, mut longest) = (0, Duration::ZERO);
    while !tending.is_finished() {
        let began = Instant::now();
        store.append(&[a_line(job)]).await.unwrap();
        longest = longest.max(began.elapsed());
        written += 1;
    }
    assert_eq!(tending.await.unwrap(), 4, "all are left");
    assert_eq!(sql(&place, DAYS).await.len(), 8);
    assert!(written > 5, "{written} lines, the slowest took {longest:?}");
    // Whoever waited for the reader would wait until his lock times out, which is ten seconds.
    assert!(longest < Duration::from_secs(5), "{longest:?}");

    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(store.tend_log_days().await.unwrap(), 0);
    assert_eq!(sql(&place, DAYS).await.len(), 4);
    let lines = store.lines(job, 0, usize::MAX).await.unwrap();
    assert_eq!(lines.len(), written, "no line is lost");
    store.close().await;
}

fn a_line(job_id: JobId) -> LogLine {
    LogLine {
        job_id,
        seq: 0,
        step: None,
        item_index: None,
        attempt: 0,
        timestamp: Timestamp::from_micros(0),
        level: LogLevel::Info,
        message: "m".into(),
        metadata: serde_json::Map::new(),
    }
}
