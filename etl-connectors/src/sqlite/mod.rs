//! SQLite databases.

mod config;
mod connection;
mod decode;
mod encode;
mod ledger;
mod sink;
mod source;
mod table;
#[cfg(test)]
mod tests;

pub use config::{SqliteMode, SqliteSinkConfig, SqliteSourceConfig};
pub(crate) use sink::SqliteSink;
pub(crate) use source::SqliteSource;
