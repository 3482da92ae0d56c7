//! Uses closures as steps, with what they capture, beside a connector of the same pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use etl_core::contract::StepContext;
use etl_core::model::{RetryPolicy, StepError};
use etl_core::sdk::{Etl, Flow};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);

    let flow = Flow::new("closures");
    let unsteady = flow
        .step_with_context("unsteady", move |ctx: StepContext| {
            let call = counted.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                ctx.info(format!("call {call}")).await;
                if call < 3 {
                    Err(StepError::transient("not yet"))
                } else {
                    Ok(call)
                }
            }
        })
        .retry(
            5,
            RetryPolicy {
                base_delay_seconds: 0.01,
                max_delay_seconds: 0.1,
                jitter: true,
            },
        );
    let doubled = flow
        .step("doubled", |n: u64| async move { Ok::<_, StepError>(n * 2) })
        .after(&unsteady);

    let etl = Etl::builder().build();
    let outcome = etl.run(&flow, serde_json::Map::new()).await?;
    println!(
        "{} after {} calls",
        outcome.output(&doubled)?,
        calls.load(Ordering::Relaxed)
    );
    assert_eq!(outcome.output(&doubled)?, 6);
    assert_eq!(outcome.step("unsteady").map(|step| step.attempt), Some(3));
    etl.shutdown().await;
    Ok(())
}
