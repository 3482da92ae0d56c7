//! SQL over sources, by DataFusion, with bounded memory.

mod build_side;
mod fault;
mod names;
mod session;
mod statement;
mod stop;
mod table;
#[cfg(test)]
mod tests;
mod threads;

pub(crate) use session::{Metering, Session};
