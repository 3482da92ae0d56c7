//! Text and model: a pipeline document as people write it, with the exact place of every fault.

mod finding;
mod places;
mod pointer;
mod read;
mod scalar;
mod shape;
mod surrogates;
#[cfg(test)]
mod tests;
mod yaml;

pub use crate::model::Fault;
pub use places::{Place, Places};
pub(crate) use pointer::escape;
pub(crate) use read::SHAPE;
pub use read::{Document, LocatedFault, Read, read, read_value};
pub use shape::{Shape, Templates};
