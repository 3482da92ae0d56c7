//! The in-memory backends keep the laws of their contracts; the suites themselves are tried by it.

use std::sync::Arc;

use async_trait::async_trait;
use etl_core::contract::{Clock, Store};
use etl_core::memory::MemoryStore;
use etl_core::testing::StoreFixture;

struct Memory;

#[async_trait]
impl StoreFixture for Memory {
    async fn fresh(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new(clock))
    }

    async fn reopen(&self, store: Arc<dyn Store>, _: Arc<dyn Clock>) -> Arc<dyn Store> {
        store
    }
}

etl_core::store_conformance!(Memory);
