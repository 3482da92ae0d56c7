//! The steps: what a document names as `connector_type`.

#[cfg(feature = "sql")]
mod copy;
#[cfg(feature = "sql")]
mod report;

#[cfg(feature = "sql")]
pub use copy::{Copy, CopyConfig};
