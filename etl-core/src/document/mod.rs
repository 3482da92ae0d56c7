//! Text and model: a pipeline document as people write it, with the exact place of every fault.

mod pointer;
mod read;
mod shape;
#[cfg(test)]
mod tests;
mod yaml;

pub use crate::model::Fault;
pub(crate) use read::SHAPE;
pub use read::{Document, LocatedFault, Read, read};
pub use shape::{Shape, Templates};
pub use yaml::{Place, Places};
