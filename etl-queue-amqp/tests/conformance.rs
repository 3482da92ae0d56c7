//! The queue on a real RabbitMQ keeps the laws of its contract.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::Queue;
use etl_core::testing::{QueueFacts, QueueFixture};

use broker::Names;

/// Queues of their own, deleted at the end.
#[derive(Default)]
struct Amqp(Mutex<Vec<Names>>);

#[async_trait]
impl QueueFixture for Amqp {
    async fn fresh(&self) -> Arc<dyn Queue> {
        let names = Names::new();
        let queue = names.connect().await;
        self.0.lock().unwrap().push(names);
        Arc::new(queue)
    }

    fn facts(&self) -> QueueFacts {
        QueueFacts {
            silence: Duration::from_millis(300),
        }
    }
}

etl_core::queue_conformance!(Amqp::default());
