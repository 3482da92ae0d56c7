//! SQL over sources, by DataFusion, with bounded memory.

mod fault;
mod names;
mod session;
mod table;

pub(crate) use session::Session;
