//! What is lost with queues and lines comes back by itself: consuming goes on, and no job waits for a hint that is gone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker;
mod line;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etl_core::contract::{Queue, QueueErrorKind, Store};
use etl_core::memory::MemoryStore;
use etl_core::model::{JobId, JobStatus, StepError};
use etl_core::runtime::SystemClock;
use etl_core::sdk::{Etl, Flow};
use etl_queue_amqp::{AmqpQueue, Band};
use serde_json::Map;

use broker::{Names, Operator, PATIENCE, a_hint, next};
use line::{Line, Way};

/// In how long a consumer has to be at work again.
const SOON: Duration = Duration::from_secs(5);

/// How often hints are told again.
const AGAIN: Duration = Duration::from_millis(200);

/// Publishes until the broker has it; how long that took.
async fn publish_at_last(queue: &AmqpQueue, hint: etl_core::model::Hint) -> Duration {
    let began = Instant::now();
    while let Err(error) = queue.publish(&[hint]).await {
        assert_eq!(error.kind, QueueErrorKind::Unavailable, "{error:?}");
        assert!(began.elapsed() < PATIENCE / 2, "{error:?}");
        tokio::task::yield_now().await;
    }
    began.elapsed()
}

/// Jobs that a process without a worker has handed to the broker, and whose hints are then lost in this way.
async fn jobs_end_without_their_hints(lose: impl AsyncFn(&Operator, &str)) {
    const JOBS: u32 = 5;
    let names = Names::new();
    let operator = Operator::new().await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let flow = Flow::new("noted");
    let _ = flow.step("noted", || async { Ok::<u32, StepError>(7) });
    let of = async || {
        Etl::builder()
            .store(Arc::clone(&store))
            .queue(Arc::new(names.connect().await))
            .flow(&flow)
    };
    let dispatcher = of().await.max_jobs(0).build();
    let mut jobs: Vec<JobId> = Vec::new();
    for _ in 0..JOBS {
        jobs.push(dispatcher.start(&flow, Map::new()).await.unwrap().id());
    }
    let queue = names.queue(5);
    operator.waits(&queue, JOBS).await;
    lose(&operator, &queue).await;
    let lost = Instant::now();
    dispatcher.shutdown().await;

    let worker = of().await.build();
    for job in jobs {
        // Nobody tells the worker of it.
        let ending = async {
            loop {
                let status = store.job(job).await.unwrap().unwrap().status;
                if status.is_terminal() {
                    break status;
                }
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ending).await;
        assert_eq!(ended.expect("it was never found"), JobStatus::Success);
    }
    eprintln!(
        "{JOBS} jobs without hints had ended after {:?}",
        lost.elapsed()
    );
    worker.shutdown().await;
}

#[tokio::test]
async fn jobs_whose_hints_were_purged_are_found_in_the_store() {
    jobs_end_without_their_hints(async |operator, queue| operator.purge(queue).await).await;
}

#[tokio::test]
async fn jobs_whose_queue_was_deleted_are_found_in_the_store() {
    jobs_end_without_their_hints(async |operator, queue| operator.delete(queue).await).await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_under_a_listener_is_declared_and_listened_to_again() {
    let names = Names::new();
    let (queue, operator) = (names.connect().await, Operator::new().await);
    for band in Band::ALL {
        let of_band = format!("{}.{band}", names.jobs);
        let priority = match band {
            Band::High => 9,
            Band::Normal => 5,
            Band::Low => 0,
        };
        let deleted = Cell::new(None);
        let deleting = async {
            operator.heard(&of_band).await;
            operator.delete(&of_band).await;
            deleted.set(Some(Instant::now()));
            // A hint that comes while its queue goes may go with it: hints are told again.
            loop {
                publish_at_last(&queue, a_hint(priority)).await;
                tokio::time::sleep(AGAIN).await;
            }
        };
        let came = tokio::select! {
            came = next(&queue, 1) => came,
            () = deleting => unreachable!("it goes on for ever"),
        };
        let deleted = deleted.get().unwrap();
        let took = deleted.elapsed();
        for delivery in came {
            assert_eq!(delivery.hint().priority, priority);
            delivery.ack().await.unwrap();
        }
        operator.purge(&of_band).await;
        eprintln!("the queue {band} was consumed again {took:?} after it was deleted");
        assert!(took < SOON, "{took:?}");
    }
}

#[tokio::test]
async fn a_purge_under_a_listener_changes_nothing_for_it() {
    let names = Names::new();
    let (queue, operator) = (names.connect().await, Operator::new().await);
    let hint = a_hint(5);
    let purging = async {
        operator.heard(&names.queue(5)).await;
        operator.purge(&names.queue(5)).await;
        queue.publish(&[hint]).await.unwrap();
    };
    let (mut came, ()) = tokio::join!(next(&queue, 1), purging);
    let delivery = came.pop().unwrap();
    assert_eq!(delivery.hint(), hint);
    delivery.ack().await.unwrap();
}

/// The line goes this way and is mended: publishing fails in bounded time, and afterwards all goes on with the same handle.
async fn a_line_is_lost_and_mended(way: Way) {
    let limit = Duration::from_secs(1);
    let names = Names::new();
    let (line, operator) = (Line::open().await, Operator::new().await);
    let options = names.options().with_time_limit(limit);
    let queue = AmqpQueue::connect(&line.url("amqp"), options)
        .await
        .unwrap();
    let hint = a_hint(5);
    let breaking = async {
        operator.heard(&names.queue(5)).await;
        line.set(way);
        let (mut longest, mut failures) = (Duration::ZERO, 0);
        let lost = Instant::now();
        // The first may go into a line that is not known to be lost; each comes back in its time.
        while failures < 3 || lost.elapsed() < Duration::from_secs(3) {
            let began = Instant::now();
            let error = queue.publish(&[a_hint(5)]).await.unwrap_err();
            longest = longest.max(began.elapsed());
            assert_eq!(error.kind, QueueErrorKind::Unavailable, "{error:?}");
            failures += 1;
            tokio::task::yield_now().await;
        }
        eprintln!("{way:?}: {failures} failures, the longest after {longest:?}");
        // Connecting may take twice the limit.
        assert!(
            longest < limit * 2 + Duration::from_millis(500),
            "{longest:?}"
        );
        line.set(Way::Open);
        let mended = Instant::now();
        let published = publish_at_last(&queue, hint).await;
        eprintln!("{way:?}: published again {published:?} after the line was mended");
        mended
    };
    let taking = async {
        loop {
            let delivery = next(&queue, 1).await.pop().unwrap();
            let came = delivery.hint();
            // Of those before, one may have reached the broker though nobody heard so.
            if delivery.ack().await.is_ok() && came == hint {
                break Instant::now();
            }
        }
    };
    let (taken, mended) = tokio::join!(taking, breaking);
    let took = taken.saturating_duration_since(mended);
    eprintln!("{way:?}: consumed again {took:?} after the line was mended");
    assert!(took < SOON, "{took:?}");
}

#[tokio::test]
async fn a_line_that_is_cut_costs_seconds_and_no_restart() {
    a_line_is_lost_and_mended(Way::Cut).await;
}

#[tokio::test]
async fn a_line_that_falls_silent_costs_seconds_and_no_restart() {
    a_line_is_lost_and_mended(Way::Silent).await;
}

#[tokio::test]
async fn tls_is_spoken_with_a_broker_whose_authority_is_trusted_and_with_no_other() {
    let names = Names::new();
    // On the test's side of the line; the broker behind it has no TLS of its own.
    let (line, authority) = Line::with_tls().await;
    let url = line.url("amqps");
    let options = names.options().with_authorities(authority);
    let queue = AmqpQueue::connect(&url, options).await.unwrap();
    let hint = a_hint(5);
    queue.publish(&[hint]).await.unwrap();
    assert_eq!(broker::take(&queue).await, hint);

    let options = names.options().with_time_limit(Duration::from_secs(1));
    let began = Instant::now();
    let refused = AmqpQueue::connect(&url, options).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused:?}");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}
