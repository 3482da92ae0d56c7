//! Templates in a pipeline's configuration: checked once, rendered for each attempt, and able to see nothing but what they
//! are given. A result is never rendered again.

mod analysis;
mod env;
mod json;
mod parse;
mod render;
mod scan;
mod scope;
#[cfg(test)]
mod tests;

pub use parse::{Template, TemplateFault};
pub use render::RenderError;
pub use scope::{Fact, Scope};
