//! The steps: what a document names as `connector_type`.

#[cfg(feature = "sql")]
mod copy;
#[cfg(feature = "sql")]
mod report;
#[cfg(feature = "sql")]
mod sql;

#[cfg(feature = "sql")]
pub use copy::{Copy, CopyConfig};
#[cfg(feature = "sql")]
pub use sql::{Sql, SqlConfig};
