//! The steps: what a document names as `connector_type`.

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

#[cfg(feature = "command")]
pub use command::{Command, CommandConfig, Protocol};
#[cfg(feature = "sql")]
pub use copy::{Copy, CopyConfig};
#[cfg(feature = "fail")]
pub use fail::{Fail, FailConfig};
#[cfg(feature = "sleep")]
pub use sleep::{Sleep, SleepConfig};
