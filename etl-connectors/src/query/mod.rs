//! SQL over sources, by DataFusion, with bounded memory.

mod fault;
mod names;
mod session;
mod statement;
mod table;
#[cfg(test)]
mod tests;
mod yielding;

pub(crate) use session::{Metering, Session};
