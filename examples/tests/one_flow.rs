//! One flow, three ways: inline, on a store in memory, and on SQLite, where what a job did outlives the program.

use std::sync::Arc;

use etl_core::artifact::ArtifactStorage;
use etl_core::model::{JobStatus, StepError};
use etl_core::runtime::SystemClock;
use etl_core::sdk::{Etl, Flow, RetryFrom, StepHandle};
use etl_store_sqlite::SqliteStore;
use serde_json::{Map, Value, json};

async fn days(count: u64) -> Result<Vec<String>, StepError> {
    Ok((1..=count).map(|day| format!("2013-01-{day:02}")).collect())
}

async fn flights(day: String) -> Result<u64, StepError> {
    Ok(day.rsplit('-').next().unwrap_or_default().parse()?)
}

async fn total(flights: Vec<u64>) -> Result<u64, StepError> {
    Ok(flights.iter().sum())
}

fn flow() -> (Flow, StepHandle<u64>) {
    let flow = Flow::new("flights");
    let count = flow.parameter::<u64>("days");
    let days = flow.step("days", days).after(&count);
    let flights = flow.step("flights", flights).for_each(&days);
    let total = flow.step("total", total).after(&flights);
    (flow, total)
}

fn ten_days() -> Map<String, Value> {
    json!({ "days": 10 })
        .as_object()
        .cloned()
        .unwrap_or_default()
}

#[tokio::test]
async fn the_same_flow_gives_the_same_wherever_it_runs() {
    let (flow, total) = flow();
    let inline = flow.run_inline(ten_days()).await.unwrap();
    assert_eq!(inline.output(&total).unwrap(), 55);

    let folder = std::env::temp_dir().join(format!("etl-one-flow-{}", std::process::id()));
    let store = SqliteStore::open(folder.join("etl.db"), Arc::new(SystemClock));
    let store = Arc::new(store.await.unwrap());
    let storage = ArtifactStorage::folder(folder.join("data")).unwrap();
    let etl = Etl::builder()
        .store(store.clone())
        .storage(storage)
        .flow(&flow)
        .build();
    let outcome = etl.run(&flow, ten_days()).await.unwrap();
    assert_eq!(outcome.output(&total).unwrap(), 55);

    // By its document, as the server would have it, with the same functions.
    let document = flow.describe().unwrap();
    let again = etl.run(&document, ten_days()).await.unwrap();
    assert_eq!(again.output(&total).unwrap(), 55);
    assert_eq!(again.job.pipeline_version, outcome.job.pipeline_version);
    let job = outcome.job.id;
    etl.shutdown().await;
    store.close().await;

    // Another program, another day: the job is there, and what it did can be repeated.
    let store = SqliteStore::open(folder.join("etl.db"), Arc::new(SystemClock));
    let store = Arc::new(store.await.unwrap());
    let etl = Etl::builder().store(store.clone()).flow(&flow).build();
    let record = etl.store().job(job).await.unwrap().unwrap();
    assert_eq!(record.status, JobStatus::Success);
    let by = etl_core::model::By("someone".into());
    let repeated = etl.retry(job, RetryFrom::Start, by).await.unwrap();
    let repeated = repeated.wait().await.unwrap();
    assert_eq!(repeated.output(&total).unwrap(), 55);
    etl.shutdown().await;
    store.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}
