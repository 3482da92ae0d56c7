//! Two processes on one database.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

use etl_core::contract::store::{Catalog as _, JobStore as _, Journal as _, PutPipeline};
use etl_core::model::{By, JobId, LogLevel, LogLine, Timestamp};
use etl_core::testing::{a_pipeline, new_job};
use etl_store_postgres::{Options, PostgresStore};

use place::Place;

const LINES: u64 = 200;

fn options(place: &Place) -> Options {
    Options {
        schema: Some(place.schema().into()),
        clock: None,
        log_days: None,
    }
}

async fn say(store: &PostgresStore, job: JobId) {
    for at in 0..LINES {
        let line = LogLine {
            job_id: job,
            seq: 0,
            step: None,
            item_index: None,
            attempt: 0,
            timestamp: Timestamp::from_seconds(1),
            level: LogLevel::Info,
            message: at.to_string(),
            metadata: serde_json::Map::new(),
        };
        store.append(&[line]).await.unwrap();
    }
}

#[tokio::test]
async fn no_two_lines_of_a_job_have_one_number() {
    let place = Place::new();
    let one = PostgresStore::open(place.url(), options(&place))
        .await
        .unwrap();
    let other = PostgresStore::open_shared(place.url(), options(&place))
        .await
        .unwrap();
    let put = PutPipeline {
        document: a_pipeline("talks").step("a").build(),
        expected_version: None,
        by: By::system(),
    };
    one.put_pipeline(put).await.unwrap();
    let pipeline = one.pipeline("default", "talks", None).await.unwrap();
    let job = new_job(&pipeline.unwrap());
    one.submit(job.clone()).await.unwrap();

    tokio::join!(say(&one, job.id), say(&other, job.id));

    let lines = one.lines(job.id, 0, 1000).await.unwrap();
    let numbers: Vec<u64> = lines.iter().map(|line| line.seq).collect();
    assert_eq!(numbers, (1..=2 * LINES).collect::<Vec<_>>());
    one.close().await;
    other.close().await;
}
