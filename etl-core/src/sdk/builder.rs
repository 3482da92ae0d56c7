//! Wires backends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::embedded::{Etl, Runnable};
use super::function::Functions;
use crate::artifact::ArtifactStorage;
use crate::contract::{
    Clock, Connector, CredentialError, Credentials, EventBus, Executor, NoCredentials, Observer,
    Queue, Store,
};
use crate::memory::{MemoryEvents, MemoryQueue, MemoryStore};
use crate::model::ExecutorKind;
use crate::registry::Registry;
use crate::runtime::{Backends, Runtime, Scope, Settings, SystemClock};

/// Chooses what an [`Etl`] works with. Everything has a default that needs nothing installed: all in memory.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct EtlBuilder {
    registry: Registry,
    functions: Functions,
    store: Option<Arc<dyn Store>>,
    queue: Option<Arc<dyn Queue>>,
    events: Option<Arc<dyn EventBus>>,
    credentials: Option<Arc<dyn Credentials>>,
    given: HashMap<String, Value>,
    storage: Option<ArtifactStorage>,
    clock: Option<Arc<dyn Clock>>,
    observer: Option<Arc<dyn Observer>>,
    settings: Settings,
}

impl EtlBuilder {
    /// Knows the connectors and executors of `registry`, in place of those given before.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Also knows this connector.
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.registry.insert(connector);
        self
    }

    /// Also knows the functions of this flow from the start, before [`Etl::put`] sees it. A program that may find jobs of the
    /// flow that were interrupted, or that runs it by its document, needs this.
    pub fn flow(self, flow: &impl Runnable) -> Self {
        for (name, function) in flow.functions() {
            self.functions.insert(name, function);
        }
        self
    }

    /// Also knows this executor.
    pub fn executor(mut self, kind: ExecutorKind, executor: Arc<dyn Executor>) -> Self {
        self.registry = self.registry.with_executor(kind, executor);
        self
    }

    /// Remembers in this store instead of in memory.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Hints over this queue instead of one in memory.
    pub fn queue(mut self, queue: Arc<dyn Queue>) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Tells watchers over this bus instead of one in memory.
    pub fn events(mut self, events: Arc<dyn EventBus>) -> Self {
        self.events = Some(events);
        self
    }

    /// Tells this what has become true, to be counted.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Opens credentials with this vault.
    pub fn credentials(mut self, credentials: Arc<dyn Credentials>) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Gives steps that name the credential `name` this value. Kept in memory only. Not beside
    /// [`credentials`](Self::credentials), which then wins.
    pub fn credential(mut self, name: impl Into<String>, value: Value) -> Self {
        self.given.insert(name.into(), value);
        self
    }

    /// Keeps artifacts here instead of in memory.
    pub fn storage(mut self, storage: ArtifactStorage) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Tells the time by this clock instead of the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How many steps run at once, over all jobs. Default 8.
    pub fn max_steps(mut self, steps: usize) -> Self {
        self.settings.max_steps = steps;
        self
    }

    /// How many jobs run at once. Default 32.
    pub fn max_jobs(mut self, jobs: usize) -> Self {
        self.settings.max_jobs = jobs;
        self
    }

    /// Which jobs are taken up. Default: whatever waits.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.settings.scope = scope;
        self
    }

    /// Fires the schedules of the pipelines in the store, which are looked at this often. By default nothing fires them.
    pub fn schedules(mut self, every: Duration) -> Self {
        self.settings.schedule = Some(every);
        self
    }

    /// Forgets jobs this long after their end, with their artifacts. By default they are kept for ever.
    pub fn keep_jobs(mut self, keep: impl Into<Option<Duration>>) -> Self {
        self.settings.keep_jobs = keep.into();
        self
    }

    /// How long an attempt may take to stop before it is abandoned. Default 10 seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Starts the services.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(self) -> Etl {
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let functions = self.functions;
        let registry = Arc::new(self.registry.with(functions.clone()));
        let credentials = self.credentials.unwrap_or_else(|| {
            if self.given.is_empty() {
                Arc::new(NoCredentials)
            } else {
                Arc::new(Given(self.given))
            }
        });
        let backends = Backends {
            store: self
                .store
                .unwrap_or_else(|| Arc::new(MemoryStore::new(Arc::clone(&clock)))),
            queue: self
                .queue
                .unwrap_or_else(|| Arc::new(MemoryQueue::default())),
            events: self
                .events
                .unwrap_or_else(|| Arc::new(MemoryEvents::default())),
            credentials,
            storage: self.storage.unwrap_or_else(ArtifactStorage::memory),
            registry,
            clock,
            observer: self.observer,
        };
        Etl::new(Runtime::start(backends, self.settings), functions)
    }
}

/// Credentials that the program gave.
struct Given(HashMap<String, Value>);

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Given").field(&self.0.keys()).finish()
    }
}

#[async_trait]
impl Credentials for Given {
    async fn open(
        &self,
        _namespace: &str,
        name: &str,
        _connector_type: &str,
    ) -> Result<Value, CredentialError> {
        self.0
            .get(name)
            .cloned()
            .ok_or_else(|| CredentialError::Missing(name.into()))
    }
}
