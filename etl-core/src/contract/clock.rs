//! Where time comes from.

use std::fmt::Debug;

use crate::model::Timestamp;

/// A source of the current time.
///
/// # Contract
/// Between the runtime and whoever runs it: a process gives the system's clock, a test one that it moves by hand.
/// Two readings MUST NOT be taken for a duration across a process restart; leases are measured by the store.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}
