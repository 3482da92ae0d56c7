//! From a document to something that can run: every fault at once, parameters by schema, and the compiled plan.

mod ancestry;
mod check;
mod compile;
mod configs;
mod parameters;
mod references;
#[cfg(test)]
mod tests;
mod timing;
mod validate;

pub use check::{check_completed, check_text, check_value};
pub use compile::{Plan, PlanHook, PlanStep};
pub use configs::ConfigShapes;
pub use parameters::{parameters, parse_parameter};
pub use validate::validate;
