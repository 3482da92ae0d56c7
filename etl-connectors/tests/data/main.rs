//! Sources and sinks, through the steps that use them.

mod columnar;
mod csv;
mod files;
mod hostile;
mod ndjson;
mod streaming;
#[path = "../testing/mod.rs"]
mod testing;
