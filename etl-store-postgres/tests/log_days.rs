//! Days of logs: there before they come, and gone when they are old.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

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

#[tokio::test]
async fn days_to_come_are_made_and_old_ones_dropped_while_the_store_is_open() {
    let place = Place::new();
    let options = Options {
        schema: Some(place.schema().into()),
        clock: None,
        log_days: Some(3),
    };
    let store = PostgresStore::open(place.url(), options).await.unwrap();
    let made = sql(&place, DAYS).await;
    assert_eq!(made.len(), 4, "today, two more and the rest: {made:?}");

    // As if days had passed: tomorrow is not there yet, and five days have been.
    sql(&place, &format!("DROP TABLE {}", made[1])).await;
    for ago in 2..7 {
        sql(
            &place,
            &format!(
                "DO $$ DECLARE day date := (now() AT TIME ZONE 'UTC')::date - {ago}; BEGIN
                    EXECUTE format('CREATE TABLE %I PARTITION OF job_logs FOR VALUES FROM (%L) TO (%L)',
                        'job_logs_' || to_char(day, 'YYYYMMDD'), day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
                END $$"
            ),
        )
        .await;
    }
    store.tend_log_days().await.unwrap();
    let tended = sql(&place, DAYS).await;
    assert_eq!(tended.len(), 6, "two old ones are kept: {tended:?}");
    assert!(
        made.iter().all(|day| tended.contains(day)),
        "{made:?} {tended:?}"
    );
    store.close().await;
    assert!(store.tend_log_days().await.is_err());
}
