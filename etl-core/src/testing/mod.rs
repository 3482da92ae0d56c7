//! What every backend has to do, as tests that its crate calls; wrappers that inject faults; clocks that tests move.
//!
//! A backend's `tests/conformance.rs` implements a fixture ([`StoreFixture`], [`AccountsFixture`], [`QueueFixture`], [`EventBusFixture`],
//! [`ExecutorFixture`]) and calls the macro of its contract:
//!
//! ```ignore
//! etl_core::store_conformance!(MyFixture::new());
//! etl_core::store_history!(MyFixture::new());
//! ```
//!
//! The fixture expression is evaluated once for each test, so that tests can run side by side. The calling crate needs
//! `tokio` with `macros` and `rt-multi-thread` among its dev-dependencies.
#![allow(clippy::unwrap_used, reason = "a case fails by panicking, as tests do")]

pub mod accounts;
pub mod audit;
pub mod build;
mod case;
mod clock;
pub mod events;
pub mod executor;
pub mod faults;
pub mod history;
mod macros;
#[cfg(test)]
mod planted;
pub mod queue;
pub mod sim;
pub mod store;

pub use accounts::AccountsFixture;
pub use audit::AuditFixture;
pub use build::{a_pipeline, new_job};
pub use clock::{ManualClock, TokioClock};
pub use events::EventBusFixture;
pub use executor::{ExecutorFacts, ExecutorFixture};
pub use queue::{QueueFacts, QueueFixture};
pub use store::{Facts, Spoil, StoreFixture};
