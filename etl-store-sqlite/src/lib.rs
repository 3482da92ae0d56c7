//! The embedded store: one SQLite file, durable, one server per file.

mod catalog;
mod claim;
mod commit;
mod error;
mod journal;
mod lease;
mod letters;
mod lock;
mod open;
mod plan;
#[cfg(test)]
mod query_plans;
mod rows;
mod schedules;
mod steps;
mod store;
mod submit;
mod triggers;
mod writer;

pub use store::SqliteStore;
