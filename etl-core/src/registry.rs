//! Which connector does which kind of step, and which executor runs where. A value, never a global.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::contract::{Connector, DynConnector, Executor};
use crate::model::ExecutorKind;

/// The connectors and executors that a process knows. Cheap to clone.
///
/// ```
/// use etl_core::registry::Registry;
///
/// let registry = Registry::new();
/// assert!(registry.connector("copy").is_none());
/// assert_eq!(registry.connectors().count(), 0);
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    connectors: BTreeMap<String, Arc<dyn DynConnector>>,
    executors: BTreeMap<ExecutorKind, Arc<dyn Executor>>,
}

impl Registry {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also knows this connector, in place of any of the same name.
    pub fn with(mut self, connector: impl Connector) -> Self {
        self.insert(connector);
        self
    }

    /// Adds a connector, in place of any of the same name.
    pub fn insert<C: Connector>(&mut self, connector: C) {
        self.connectors.insert(C::NAME.into(), Arc::new(connector));
    }

    /// Also knows this executor, in place of any of the same kind. `in_process` needs none.
    pub fn with_executor(mut self, kind: ExecutorKind, executor: Arc<dyn Executor>) -> Self {
        self.executors.insert(kind, executor);
        self
    }

    /// The connector of this name.
    pub fn connector(&self, name: &str) -> Option<&Arc<dyn DynConnector>> {
        self.connectors.get(name)
    }

    /// The executor of this kind.
    pub fn executor(&self, kind: ExecutorKind) -> Option<&Arc<dyn Executor>> {
        self.executors.get(&kind)
    }

    /// Every connector, by name.
    pub fn connectors(&self) -> impl Iterator<Item = (&str, &Arc<dyn DynConnector>)> {
        self.connectors
            .iter()
            .map(|(name, connector)| (name.as_str(), connector))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("connectors", &self.connectors.keys())
            .field("executors", &self.executors.keys())
            .finish()
    }
}
