//! Templates in a pipeline's configuration: checked once, rendered for each attempt, and able to see nothing but what they
//! are given. A result is never rendered again.

mod analysis;
mod env;
mod json;
mod parse;
mod scan;
mod scope;
#[cfg(test)]
mod tests;

pub use parse::{RenderError, Template, TemplateFault};
pub use scope::{Fact, Scope};
