//! The queue suite: each function is one law of the contract.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use uuid::Uuid;

use super::case::{self, Case};
use crate::contract::{Delivery, Queue};
use crate::model::{Hint, JobId};

/// Makes queues to try.
#[async_trait]
pub trait QueueFixture: Send + Sync {
    /// A new and empty queue, beside any other that this fixture made.
    async fn fresh(&self) -> Arc<dyn Queue>;

    /// How the queue differs from others where the contract leaves it free.
    fn facts(&self) -> QueueFacts {
        QueueFacts::default()
    }
}

/// How a queue differs from others where the contract leaves it free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFacts {
    /// How long nothing must come until a case takes it that nothing will.
    pub silence: Duration,
}

impl Default for QueueFacts {
    fn default() -> Self {
        Self {
            silence: Duration::from_millis(50),
        }
    }
}

/// How long a case waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

const CASES: &[Case<dyn QueueFixture>] = crate::__queue_cases! { (case::case_list) () };

/// The names of all cases.
pub fn cases() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Runs one case; it panics where the queue breaks the law.
pub async fn run(name: &str, fixture: &(dyn QueueFixture + 'static)) {
    case::run(CASES, name, fixture).await;
}

fn hints(count: usize, priority: u8) -> Vec<Hint> {
    let hint = || Hint {
        job: JobId(Uuid::now_v7()),
        priority,
    };
    std::iter::repeat_with(hint).take(count).collect()
}

fn told(deliveries: &[Box<dyn Delivery>]) -> Vec<Hint> {
    deliveries.iter().map(|delivery| delivery.hint()).collect()
}

async fn next(queue: &dyn Queue, max: usize) -> Vec<Box<dyn Delivery>> {
    let deliveries = timeout(PATIENCE, queue.next(max)).await;
    let deliveries = deliveries.expect("nothing was delivered").unwrap();
    assert!((1..=max).contains(&deliveries.len()));
    deliveries
}

/// Takes and acknowledges so many hints.
async fn take(queue: &dyn Queue, count: usize) -> Vec<Hint> {
    let mut taken = Vec::new();
    while taken.len() < count {
        for delivery in next(queue, count - taken.len()).await {
            taken.push(delivery.hint());
            delivery.ack().await.unwrap();
        }
    }
    taken
}

async fn assert_silent(queue: &dyn Queue, facts: QueueFacts) {
    let came = timeout(facts.silence, queue.next(1)).await;
    assert!(came.is_err(), "{came:?} came");
}

mod deliver {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::timeout;

    use super::{QueueFixture, assert_silent, hints, next, take, told};

    pub(super) async fn hints_come_out_in_the_order_they_went_in(fixture: &dyn QueueFixture) {
        let queue = fixture.fresh().await;
        let all = hints(1000, 5);
        for part in all.chunks(300) {
            queue.publish(part).await.unwrap();
        }
        queue.publish(&[]).await.unwrap();
        assert_eq!(take(&*queue, 1000).await, all);
        assert_silent(&*queue, fixture.facts()).await;
    }

    pub(super) async fn the_highest_priority_comes_first(fixture: &dyn QueueFixture) {
        let queue = fixture.fresh().await;
        let [low, high, middle] = [0, 9, 5].map(|priority| hints(2, priority));
        let all = [low.clone(), high.clone(), middle.clone()].concat();
        queue.publish(&all).await.unwrap();
        let expected = [high, middle, low].concat();
        assert_eq!(take(&*queue, 6).await, expected);
    }

    pub(super) async fn no_more_come_than_are_asked_for(fixture: &dyn QueueFixture) {
        let queue = fixture.fresh().await;
        let all = hints(5, 5);
        queue.publish(&all).await.unwrap();
        let first = next(&*queue, 2).await;
        assert!(first.len() <= 2);
        assert_eq!(told(&first), all[..first.len()]);
    }

    pub(super) async fn who_asks_early_waits(fixture: &dyn QueueFixture) {
        let queue = fixture.fresh().await;
        let all = hints(1, 5);
        let waiting = async { told(&next(&*queue, 10).await) };
        tokio::pin!(waiting);
        // Polled before anything is there.
        assert_eq!(waiting.as_mut().now_or_never(), None);
        queue.publish(&all).await.unwrap();
        assert_eq!(waiting.await, all);
    }

    pub(super) async fn a_call_that_is_given_up_loses_nothing(fixture: &dyn QueueFixture) {
        let queue = fixture.fresh().await;
        for hint in hints(20, 5) {
            let given_up = timeout(Duration::from_millis(1), queue.next(1)).await;
            assert!(given_up.is_err());
            queue.publish(&[hint]).await.unwrap();
            assert_eq!(take(&*queue, 1).await, [hint]);
        }
    }

    pub(super) async fn racing_workers_get_each_hint_once(fixture: &dyn QueueFixture) {
        let queue = fixture.fresh().await;
        let mut all = hints(400, 5);
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let queue = queue.clone();
            workers.spawn(async move { take(&*queue, 100).await });
        }
        for part in all.chunks(7) {
            queue.publish(part).await.unwrap();
        }
        let mut got = workers.join_all().await.concat();
        got.sort_by_key(|hint| hint.job);
        all.sort_by_key(|hint| hint.job);
        assert_eq!(got, all);
    }
}

mod keep {
    use futures_util::FutureExt as _;

    use super::{QueueFixture, assert_silent, hints, next, take, told};
    use crate::model::{DeadLetter, ErrorClass, StepKey};

    pub(super) async fn what_is_not_acknowledged_comes_again(fixture: &dyn QueueFixture) {
        let queue = fixture.fresh().await;
        let all = hints(3, 5);
        queue.publish(&all).await.unwrap();
        for _ in 0..2 {
            let mut dropped = Vec::new();
            while dropped.len() < all.len() {
                dropped.extend(next(&*queue, all.len() - dropped.len()).await);
            }
            drop(dropped);
        }
        let mut again = take(&*queue, 3).await;
        again.sort_by_key(|hint| hint.job);
        assert_eq!(again, all);
        assert_silent(&*queue, fixture.facts()).await;
    }

    pub(super) async fn what_is_not_acknowledged_wakes_who_waits(fixture: &dyn QueueFixture) {
        let queue = fixture.fresh().await;
        let all = hints(1, 5);
        queue.publish(&all).await.unwrap();
        let held = next(&*queue, 1).await;
        let waiting = async { told(&next(&*queue, 1).await) };
        tokio::pin!(waiting);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(held);
        assert_eq!(waiting.await, all);
    }

    pub(super) async fn dead_letters_are_not_delivered_as_hints(fixture: &dyn QueueFixture) {
        let queue = fixture.fresh().await;
        let letter = DeadLetter {
            key: StepKey::item(1, 2),
            step_name: "load".into(),
            attempts: 4,
            error_class: ErrorClass::Poison,
            error: "«unreadable» 🦀".into(),
        };
        let hint = hints(1, 5);
        queue.bury(hint[0].job, &letter).await.unwrap();
        queue.publish(&hint).await.unwrap();
        assert_eq!(take(&*queue, 1).await, hint);
        assert_silent(&*queue, fixture.facts()).await;
    }
}
