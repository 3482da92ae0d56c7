//! Pipelines, the engine that runs them, and the contracts that backends implement.

pub mod artifact;
pub mod contract;
pub mod document;
pub mod engine;
pub mod graph;
pub mod in_process;
pub mod memory;
pub mod model;
pub mod plan;
pub mod registry;
pub mod runtime;
pub mod sdk;
pub mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
