//! Sources and sinks, through the steps that use them.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod columnar;
mod csv;
mod files;
mod hostile;
mod ndjson;
mod streaming;
#[path = "../testing/mod.rs"]
mod testing;
