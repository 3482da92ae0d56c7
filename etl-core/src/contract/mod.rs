//! The contracts between the engine and everything that can be exchanged: connectors, stores, queues, executors, event
//! buses. Traits, their data and their errors; no implementation, and no cleverness that an implementation would inherit.

mod actor;
mod clock;
mod connector;
mod context;
mod credentials;
mod events;
mod executor;
mod observer;
mod queue;
pub mod store;

pub use actor::{acting, actor};
pub use clock::Clock;
pub use connector::{Connector, ConnectorInfo, DynConnector, NoCredential, Tested};
pub use context::{ContextParts, Progress, StepContext};
pub use credentials::{CredentialError, Credentials, NoCredentials};
pub use events::{EventBus, EventError, Received, Subscription};
pub use executor::{Cleared, Executor, ExecutorError, ExecutorErrorKind, Run};
pub use observer::{Observation, Observer};
pub use queue::{Delivery, Queue, QueueError, QueueErrorKind};
pub use store::{Store, StoreError, StoreErrorKind};
