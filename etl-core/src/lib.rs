//! Pipelines, the engine that runs them, and the contracts that backends implement.
//!
//! A *pipeline* is a document: a DAG of *steps*, each a connector with its configuration. A *job* is one execution of it. The
//! engine remembers every change of a job's state before it acts on it, so that a job outlives whoever runs it: what
//! succeeded never runs again, what was interrupted goes on.
//!
//! # In a program
//!
//! [`sdk`] is the way in. Steps are async functions or closures, and edges are handles, so that types are checked by the
//! compiler:
//!
//! ```
//! use etl_core::model::StepError;
//! use etl_core::sdk::{Etl, Flow};
//!
//! async fn extract() -> Result<Vec<u64>, StepError> {
//!     Ok(vec![120, 80, 40])
//! }
//!
//! async fn total(amounts: Vec<u64>) -> Result<u64, StepError> {
//!     Ok(amounts.iter().sum())
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let flow = Flow::new("sales");
//!     let amounts = flow.step("extract", extract);
//!     let total = flow.step("total", total).after(&amounts);
//!
//!     // In memory; a store, a queue and the rest are given to the builder.
//!     let etl = Etl::builder().flow(&flow).build();
//!     let outcome = etl.run(&flow, Default::default()).await?;
//!     assert_eq!(outcome.output(&total)?, 240);
//!
//!     // The same pipeline as a document, as a YAML file would say it.
//!     let document = flow.describe()?;
//!     assert_eq!(document.steps[1].dependencies, ["extract"]);
//!     assert!(etl.run(&document, Default::default()).await?.is_success());
//!     etl.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # By a document
//!
//! A text is read and checked in one look, and every fault has its place:
//!
//! ```
//! use etl_core::plan::check_text;
//! use etl_core::registry::Registry;
//!
//! let faults = check_text("name: sales\nscheduel: \"@daily\"\nsteps: []\n", &Registry::new()).unwrap_err();
//! assert_eq!((faults[0].line, faults[0].column), (2, 1));
//! assert_eq!(faults[0].fault.hint.as_deref(), Some("did you mean \"schedule\"?"));
//! assert_eq!((faults[1].line, faults[1].column), (3, 8));
//! ```
//!
//! # Where things are
//!
//! From the bottom; a module uses only those before it:
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`model`] | the data: pipelines, jobs, steps, events, errors, and which state may follow which |
//! | [`graph`], [`template`], [`document`], [`schedule`] | pure functions: the DAG and its moving edge, expressions, text to model, when a pipeline fires |
//! | [`contract`], [`registry`], [`artifact`] | what a connector, a store, a queue, an executor and a bus must do; who does which kind |
//! | [`plan`], [`engine`] | deciding: every fault of a pipeline, and the pure machine `handle(input, now) -> effects` that drives a job |
//! | [`memory`], [`in_process`] | reference implementations |
//! | [`runtime`] | doing: intake, dispatcher, worker, keeper, reaper, scheduler; the only layer that spawns and sleeps |
//! | [`sdk`] | the engine inside a program |
//! | `testing` | feature `testing`: conformance suites, faulty wrappers and controlled clocks for backends and programs |
//!
//! To write a connector, see [`contract::Connector`]; to write a backend, its contract and the suite in `testing`.

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
pub mod schedule;
pub mod sdk;
pub mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
