//! The store on PostgreSQL: many processes, one truth.

mod accounts;
mod audit;
mod catalog;
mod claim;
mod columns;
mod commit;
mod conn;
mod connect;
mod credentials;
mod dead_letters;
mod figures;
mod journal;
mod lease;
mod letters;
mod log_days;
mod notify;
mod open;
mod put_off;
mod retention;
mod schedules;
mod steps;
mod store;
mod submit;
mod text;
mod triggers;
mod writer;

pub use notify::{PostgresEvents, PostgresQueue};
pub use open::Options;
pub use store::PostgresStore;
