//! The in-memory backends keep the laws of their contracts; the suites themselves are tried by it.

use std::sync::Arc;

use async_trait::async_trait;
use etl_core::contract::store::{Accounts, ServerStore};
use etl_core::contract::{Clock, EventBus, Executor, Queue, Store};
use etl_core::in_process::InProcess;
use etl_core::memory::{MemoryEvents, MemoryQueue, MemoryStore};
use etl_core::registry::Registry;
use etl_core::testing::{
    AccountsFixture, AuditFixture, EventBusFixture, ExecutorFacts, ExecutorFixture, QueueFixture,
    StoreFixture,
};

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

#[async_trait]
impl AccountsFixture for Memory {
    async fn fresh_accounts(&self, clock: Arc<dyn Clock>) -> Arc<dyn Accounts> {
        Arc::new(MemoryStore::new(clock))
    }
}

#[async_trait]
impl AuditFixture for Memory {
    async fn fresh_audit(&self, clock: Arc<dyn Clock>) -> Arc<dyn ServerStore> {
        Arc::new(MemoryStore::new(clock))
    }
}

#[async_trait]
impl QueueFixture for Memory {
    async fn fresh(&self) -> Arc<dyn Queue> {
        Arc::new(MemoryQueue::new())
    }
}

#[async_trait]
impl EventBusFixture for Memory {
    async fn fresh(&self) -> Arc<dyn EventBus> {
        Arc::new(MemoryEvents::default())
    }
}

#[async_trait]
impl ExecutorFixture for Memory {
    async fn fresh(&self, registry: Registry) -> Arc<dyn Executor> {
        Arc::new(InProcess::new(Arc::new(registry)))
    }

    fn facts(&self) -> ExecutorFacts {
        ExecutorFacts {
            same_process: true,
            outlives_run: false,
        }
    }
}

etl_core::store_conformance!(Memory);
etl_core::store_history!(Memory);
etl_core::accounts_conformance!(Memory);
etl_core::audit_conformance!(Memory);
etl_core::queue_conformance!(Memory);
etl_core::event_bus_conformance!(Memory);
etl_core::executor_conformance!(Memory);
