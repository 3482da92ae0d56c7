//! Pipelines, the engine that runs them, and the contracts that backends implement.

pub mod artifact;
pub mod contract;
pub mod memory;
pub mod model;
pub mod registry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
