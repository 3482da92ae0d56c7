//! Hints and events by notifications do what every queue and every event bus has to do, also between processes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::{EventBus, Queue};
use etl_core::testing::{EventBusFixture, QueueFacts, QueueFixture};
use etl_store_postgres::{Options, PostgresStore};

use place::Place;

#[derive(Default)]
struct Stores(Mutex<Vec<(PostgresStore, Place)>>);

impl Stores {
    async fn open<T>(&self, part: impl Fn(&PostgresStore) -> T) -> T {
        let place = Place::new();
        let options = Options {
            schema: Some(place.schema().into()),
            clock: None,
            log_days: None,
        };
        let store = PostgresStore::open(place.url(), options).await.unwrap();
        let opened = part(&store);
        self.0.lock().unwrap().push((store, place));
        opened
    }
}

#[async_trait]
impl QueueFixture for Stores {
    async fn fresh(&self) -> Arc<dyn Queue> {
        Arc::new(self.open(PostgresStore::queue).await)
    }

    fn facts(&self) -> QueueFacts {
        QueueFacts {
            silence: Duration::from_millis(300),
        }
    }
}

#[async_trait]
impl EventBusFixture for Stores {
    async fn fresh(&self) -> Arc<dyn EventBus> {
        Arc::new(self.open(PostgresStore::events).await)
    }
}

etl_core::queue_conformance!(Stores::default());
etl_core::event_bus_conformance!(Stores::default());
