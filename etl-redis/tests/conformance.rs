//! Events over a real Redis keep the laws of their contract.

mod server;

use std::sync::Arc;

use async_trait::async_trait;
use etl_core::contract::EventBus;
use etl_core::testing::EventBusFixture;

struct Shared;

#[async_trait]
impl EventBusFixture for Shared {
    async fn fresh(&self) -> Arc<dyn EventBus> {
        Arc::new(server::shared().events())
    }
}

etl_core::event_bus_conformance!(Shared);
