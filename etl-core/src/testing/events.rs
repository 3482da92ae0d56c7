//! The event bus suite: each function is one law of the contract.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use uuid::Uuid;

use super::case::{self, Case};
use crate::contract::{EventBus, Received, Subscription};
use crate::model::{Event, EventKind, JobId, JobStatus, Timestamp};

/// Makes event buses to try.
#[async_trait]
pub trait EventBusFixture: Send + Sync {
    /// A new bus that nobody watches, beside any other that this fixture made. A watcher of it may fall behind by at least
    /// 1,000 notices, but not by 100,000.
    async fn fresh(&self) -> Arc<dyn EventBus>;
}

/// How long a case waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

const CASES: &[Case<dyn EventBusFixture>] = crate::__event_bus_cases! { (case::case_list) () };

/// The names of all cases.
pub fn cases() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Runs one case; it panics where the bus breaks the law.
pub async fn run(name: &str, fixture: &(dyn EventBusFixture + 'static)) {
    case::run(CASES, name, fixture).await;
}

fn a_job() -> JobId {
    JobId(Uuid::now_v7())
}

/// The n-th notice about a job.
fn notice(job_id: JobId, n: i64) -> Event {
    Event {
        job_id,
        at: Timestamp::from_micros(n),
        kind: EventKind::Job {
            status: JobStatus::Running,
            error_message: None,
        },
    }
}

async fn next(watcher: &mut Box<dyn Subscription>) -> Received {
    let received = timeout(PATIENCE, watcher.next()).await;
    received.expect("nothing came").expect("the bus is open")
}

async fn next_event(watcher: &mut Box<dyn Subscription>) -> Event {
    match next(watcher).await {
        Received::Event(event) => event,
        Received::Missed(count) => panic!("{count} notices were missed"),
    }
}

mod watch {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Map, json};
    use tokio::time::timeout;

    use super::{EventBusFixture, a_job, next_event, notice};
    use crate::model::{
        Event, EventKind, JobStatus, LogLevel, LogLine, StepKey, StepStatus, Timestamp,
    };

    pub(super) async fn a_watcher_gets_what_comes_after_it(fixture: &dyn EventBusFixture) {
        let bus = fixture.fresh().await;
        let job = a_job();
        bus.publish(vec![notice(job, 1)]).await.unwrap();
        let mut watcher = bus.subscribe(None).await.unwrap();
        let later = [notice(job, 2), notice(job, 3)];
        bus.publish(later.to_vec()).await.unwrap();
        for expected in later {
            assert_eq!(next_event(&mut watcher).await, expected);
        }
    }

    pub(super) async fn a_watcher_of_one_job_gets_no_other(fixture: &dyn EventBusFixture) {
        let bus = fixture.fresh().await;
        let (mine, other) = (a_job(), a_job());
        let mut watcher = bus.subscribe(Some(mine)).await.unwrap();
        let events = vec![notice(other, 1), notice(mine, 2), notice(other, 3)];
        bus.publish(events).await.unwrap();
        bus.publish(vec![notice(mine, 4)]).await.unwrap();
        assert_eq!(next_event(&mut watcher).await, notice(mine, 2));
        assert_eq!(next_event(&mut watcher).await, notice(mine, 4));
    }

    pub(super) async fn events_of_a_job_come_in_order_to_every_watcher(
        fixture: &dyn EventBusFixture,
    ) {
        let bus = fixture.fresh().await;
        let job = a_job();
        let mut watchers = Vec::new();
        for of in [None, Some(job), None] {
            watchers.push(bus.subscribe(of).await.unwrap());
        }
        for part in 0..10 {
            let events = (part * 100..(part + 1) * 100).map(|n| notice(job, n));
            bus.publish(events.collect()).await.unwrap();
        }
        for watcher in &mut watchers {
            for n in 0..1000 {
                assert_eq!(next_event(watcher).await, notice(job, n));
            }
        }
    }

    pub(super) async fn a_call_that_is_given_up_loses_nothing(fixture: &dyn EventBusFixture) {
        let bus = fixture.fresh().await;
        let job = a_job();
        let mut watcher = bus.subscribe(Some(job)).await.unwrap();
        for n in 0..20 {
            let given_up = timeout(Duration::from_millis(1), watcher.next()).await;
            assert!(given_up.is_err());
            bus.publish(vec![notice(job, n)]).await.unwrap();
            assert_eq!(next_event(&mut watcher).await, notice(job, n));
        }
    }

    pub(super) async fn every_kind_of_event_comes_as_it_was_sent(fixture: &dyn EventBusFixture) {
        let bus = fixture.fresh().await;
        let job_id = a_job();
        let key = StepKey::item(3, 7);
        let step = || Arc::from("«lädt» 🦀");
        let kinds = [
            EventKind::Job {
                status: JobStatus::Failed,
                error_message: Some("s0 failed\nbadly".into()),
            },
            EventKind::Step {
                step: step(),
                key,
                status: StepStatus::Retrying,
                attempt: 2,
                rows_processed: 10,
                error_message: Some("again".into()),
                error_stack: Some("because".into()),
            },
            EventKind::Expanded {
                step: step(),
                key: StepKey::step(3),
                items: 10_000,
            },
            EventKind::Progress {
                step: step(),
                key,
                progress: Some(42),
                rows_processed: 1,
                bytes_transferred: u64::from(u32::MAX) + 1,
            },
            EventKind::Log(LogLine {
                job_id,
                seq: 9,
                step: Some(step()),
                item_index: Some(7),
                attempt: 2,
                timestamp: Timestamp::from_micros(1_704_067_200_123_456),
                level: LogLevel::Warn,
                message: "careful".into(),
                metadata: Map::from_iter([("n".into(), json!([1, null]))]),
            }),
        ];
        let at = Timestamp::from_micros(1_704_067_200_654_321);
        let events = kinds.map(|kind| Event { job_id, at, kind });
        let mut watcher = bus.subscribe(Some(job_id)).await.unwrap();
        bus.publish(events.to_vec()).await.unwrap();
        for event in events {
            assert_eq!(next_event(&mut watcher).await, event);
        }
    }
}

mod miss {
    use tokio::time::timeout;

    use super::{EventBusFixture, PATIENCE, a_job, next, next_event, notice};
    use crate::contract::Received;

    pub(super) async fn nobody_has_to_watch(fixture: &dyn EventBusFixture) {
        let bus = fixture.fresh().await;
        let job = a_job();
        drop(bus.subscribe(Some(job)).await.unwrap());
        bus.publish(vec![notice(job, 1)]).await.unwrap();
        bus.publish(vec![]).await.unwrap();
        let mut watcher = bus.subscribe(None).await.unwrap();
        bus.publish(vec![notice(job, 2)]).await.unwrap();
        assert_eq!(next_event(&mut watcher).await, notice(job, 2));
    }

    pub(super) async fn a_slow_watcher_holds_nobody_up_and_is_told_what_it_missed(
        fixture: &dyn EventBusFixture,
    ) {
        const COUNT: i64 = 100_000;
        let bus = fixture.fresh().await;
        let job = a_job();
        let mut slow = bus.subscribe(None).await.unwrap();
        let publishing = async {
            for part in 0..COUNT / 1000 {
                let events = (part * 1000..(part + 1) * 1000).map(|n| notice(job, n));
                bus.publish(events.collect()).await.unwrap();
            }
        };
        let published = timeout(PATIENCE, publishing).await;
        published.expect("publishing waited for the watcher");

        let (mut next_n, mut missed) = (0, 0);
        while next_n < COUNT {
            match next(&mut slow).await {
                Received::Missed(count) => {
                    assert!(count > 0);
                    missed += count;
                    next_n += count as i64;
                }
                Received::Event(event) => {
                    assert_eq!(event, notice(job, next_n));
                    next_n += 1;
                }
            }
        }
        assert_eq!(next_n, COUNT);
        assert!(missed > 0, "so many notices can't have been kept");
    }
}
