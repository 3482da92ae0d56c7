//! Runs the same pipeline on SQLite: what a job did outlives the program.

use std::sync::Arc;

use etl_core::artifact::ArtifactStorage;
use etl_core::model::{JobStatus, StepError};
use etl_core::runtime::SystemClock;
use etl_core::sdk::{Etl, Flow};
use etl_store_sqlite::SqliteStore;

fn flow() -> Flow {
    let flow = Flow::new("durable");
    let numbers = flow.step("numbers", || async {
        Ok::<_, StepError>(vec![1_u64, 2, 3])
    });
    flow.step("sum", |numbers: Vec<u64>| async move {
        Ok::<_, StepError>(numbers.iter().sum::<u64>())
    })
    .after(&numbers);
    flow
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("etl-durable-{}", std::process::id()));
    let database = folder.join("etl.db");

    let store = Arc::new(SqliteStore::open(&database, Arc::new(SystemClock)).await?);
    let storage = ArtifactStorage::folder(folder.join("data"))?;
    let etl = Etl::builder().store(store.clone()).storage(storage).build();
    let job = etl.run(&flow(), serde_json::Map::new()).await?.job.id;
    etl.shutdown().await;
    store.close().await;

    // Another program, another day.
    let store = Arc::new(SqliteStore::open(&database, Arc::new(SystemClock)).await?);
    let etl = Etl::builder().store(store.clone()).build();
    let record = etl.store().job(job).await?;
    println!("{:?}", record.as_ref().map(|job| job.status));
    assert_eq!(record.map(|job| job.status), Some(JobStatus::Success));
    etl.shutdown().await;
    store.close().await;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
