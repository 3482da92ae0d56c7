//! What people and programs see.

mod json;
mod live;
mod out;
mod run;
mod text;

pub(crate) use json::{print_json, print_line, run_document};
pub(crate) use out::{Reader, print, say};
pub(crate) use run::RunView;
pub(crate) use text::{count, duration, log_line, summary, table};
