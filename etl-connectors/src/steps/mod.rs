//! The steps: what a document names as `connector_type`.

#[cfg(feature = "sql")]
mod assert;
#[cfg(feature = "command")]
mod command;
#[cfg(feature = "sql")]
mod copy;
#[cfg(feature = "fail")]
mod fail;
#[cfg(feature = "sql")]
mod report;
#[cfg(feature = "sleep")]
mod sleep;
#[cfg(feature = "sql")]
mod sql;

#[cfg(feature = "sql")]
pub use assert::{
    AcceptedValues, Assert, AssertConfig, Checks, OneOrMany, QueryCheck, RowCount, Scalar,
};
#[cfg(feature = "command")]
pub use command::{Command, CommandConfig, CommandCredential, Protocol};
#[cfg(feature = "sql")]
pub use copy::{Copy, CopyConfig};
#[cfg(feature = "fail")]
pub use fail::{Fail, FailConfig};
#[cfg(feature = "sleep")]
pub use sleep::{Sleep, SleepConfig};
#[cfg(feature = "sql")]
pub use sql::{Sql, SqlConfig};
