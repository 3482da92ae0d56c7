//! The queue on a real RabbitMQ keeps the laws of its contract.

mod broker;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::Queue;
use etl_core::testing::{QueueFacts, QueueFixture};

use broker::Names;

struct Amqp;

#[async_trait]
impl QueueFixture for Amqp {
    async fn fresh(&self) -> Arc<dyn Queue> {
        Arc::new(Names::new().connect().await)
    }

    fn facts(&self) -> QueueFacts {
        QueueFacts {
            silence: Duration::from_millis(300),
        }
    }
}

etl_core::queue_conformance!(Amqp);
