//! SQLite databases.

mod config;
mod connection;
mod declared;
mod decode;
mod encode;
mod ledger;
mod sink;
mod source;
mod table;

pub use config::{SqliteMode, SqliteSinkConfig, SqliteSourceConfig};
pub(crate) use sink::SqliteSink;
pub(crate) use source::SqliteSource;
