//! The embedded store: one SQLite file, durable, one server per file.

mod accounts;
mod audit;
mod catalog;
mod claim;
mod columns;
mod commit;
mod conn;
mod credentials;
mod dead_letters;
mod figures;
mod journal;
mod lease;
mod letters;
mod lock;
mod log_days;
mod open;
mod put_off;
#[cfg(test)]
mod query_plans;
mod retention;
mod schedules;
mod steps;
mod store;
mod submit;
mod triggers;
mod writer;

pub use store::SqliteStore;
