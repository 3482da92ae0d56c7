//! Watches a job: its events as they happen, and its log afterwards.

use etl_core::contract::StepContext;
use etl_core::model::{EventKind, StepError};
use etl_core::sdk::{Etl, Flow};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flow = Flow::new("watched");
    let first = flow.step_with_context("first", |ctx: StepContext| async move {
        ctx.info("hello from the first step").await;
        Ok::<_, StepError>(1_u64)
    });
    flow.step("second", |n: u64| async move { Ok::<_, StepError>(n + 1) })
        .after(&first);

    let etl = Etl::builder().build();
    let mut handle = etl.start(&flow, serde_json::Map::new()).await?;
    let job = handle.id();
    let mut seen = Vec::new();
    while let Some(event) = handle.next_event().await? {
        match event.kind {
            EventKind::Step { step, status, .. } => seen.push(format!("{step} {status}")),
            EventKind::Job { status, .. } => seen.push(format!("job {status}")),
            _ => {}
        }
    }
    println!("{}", seen.join(", "));
    assert_eq!(seen.last().map(String::as_str), Some("job success"));
    assert!(
        seen.iter().position(|e| e == "first success")
            <= seen.iter().position(|e| e == "second running")
    );

    let log = etl.store().lines(job, 0, 100).await?;
    assert!(
        log.iter()
            .any(|line| line.message == "hello from the first step")
    );
    etl.shutdown().await;
    Ok(())
}
