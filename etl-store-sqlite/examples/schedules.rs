//! How long it takes to fire many schedules that are due in the same minute: `schedules [COUNT] [SCHEDULERS]`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that goes wrong has nothing to say"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use etl_core::contract::Store;
use etl_core::contract::store::PutPipeline;
use etl_core::model::{By, Pipeline, Step};
use etl_core::runtime::Scheduler;
use etl_core::testing::ManualClock;
use etl_store_sqlite::SqliteStore;
use futures_util::StreamExt;
use futures_util::stream;

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().unwrap());
    let count: usize = numbers.next().unwrap_or(100_000);
    let schedulers: usize = numbers.next().unwrap_or(1);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let store = SqliteStore::open(folder.path().join("etl.db"), clock.clone()).await;
    let store: Arc<dyn Store> = Arc::new(store.unwrap());

    let from = Instant::now();
    let puts = (0..count).map(|n| {
        let mut pipeline = Pipeline::new(format!("p{n}"));
        pipeline.schedule = Some("0 6 * * *".into());
        pipeline.timezone = "America/Sao_Paulo".into();
        pipeline.steps = vec![Step::new("a", "sleep")];
        let store = Arc::clone(&store);
        async move {
            let put = PutPipeline {
                document: pipeline.into(),
                expected_version: None,
                by: By::system(),
            };
            store.put_pipeline(put).await.unwrap();
        }
    });
    stream::iter(puts)
        .buffer_unordered(1_000)
        .collect::<Vec<()>>()
        .await;
    println!(
        "{count} pipelines with schedules stored in {:.1?}",
        from.elapsed()
    );

    clock.advance(Duration::from_hours(24));
    let from = Instant::now();
    let mut working = tokio::task::JoinSet::new();
    for _ in 0..schedulers {
        let scheduler = Scheduler::new(Arc::clone(&store) as _);
        let store = Arc::clone(&store);
        working.spawn(async move {
            let (mut jobs, mut longest) = (0, Duration::ZERO);
            while !store.due(1).await.unwrap().schedules.is_empty() {
                let begun = Instant::now();
                jobs += scheduler.tick().await.unwrap().jobs;
                longest = longest.max(begun.elapsed());
            }
            (jobs, longest)
        });
    }
    let done = working.join_all().await;
    let took = from.elapsed();
    let jobs: usize = done.iter().map(|(jobs, _)| jobs).sum();
    let longest = done
        .iter()
        .map(|(_, longest)| *longest)
        .max()
        .unwrap_or_default();
    assert_eq!(jobs, count);
    println!(
        "{jobs} fires by {schedulers} scheduler(s) in {took:.1?}: {:.0} a second, the longest round {longest:.0?}",
        jobs as f64 / took.as_secs_f64()
    );
}
