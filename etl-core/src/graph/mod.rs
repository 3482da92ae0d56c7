//! The graph of a pipeline's steps: who waits for whom, and what becomes free when something is settled.

mod dag;
mod frontier;
mod trigger_rule;

pub use dag::Dag;
pub use frontier::Frontier;
pub use trigger_rule::{Decision, Settled, decide};
