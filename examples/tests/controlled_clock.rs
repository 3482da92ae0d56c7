//! Runs a pipeline under a clock that the test controls: an hour of retries takes no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use etl_core::contract::Clock;
use etl_core::model::{RetryPolicy, StepError};
use etl_core::sdk::{Etl, Flow};
use etl_core::testing::TokioClock;

#[tokio::test(start_paused = true)]
async fn an_hour_of_retries_passes_at_once() {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let flow = Flow::new("patient");
    let slow_retry = RetryPolicy {
        base_delay_seconds: 1200.0,
        max_delay_seconds: 1200.0,
        jitter: false,
    };
    flow.step("unsteady", move || {
        let attempt = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if attempt < 3 {
                Err(StepError::transient("not yet"))
            } else {
                Ok(attempt)
            }
        }
    })
    .retry(3, slow_retry);

    let clock = Arc::new(TokioClock::default());
    let began = clock.now();
    let etl = Etl::builder().clock(clock.clone()).build();
    let outcome = etl.run(&flow, serde_json::Map::new()).await.unwrap();

    assert!(outcome.is_success(), "{:?}", outcome.job.error_message);
    assert_eq!(attempts.load(Ordering::Relaxed), 4);
    let took = clock.now().since(began);
    assert!(
        (Duration::from_hours(1)..Duration::from_secs(3700)).contains(&took),
        "{took:?}"
    );
    etl.shutdown().await;
}
