//! The executor that runs attempts in the worker's own process. For connectors that are trusted.

mod executor;

pub use executor::InProcess;
