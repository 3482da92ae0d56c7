//! What the measurements share: graphs of steps that do nothing, and figures that are printed and kept.

pub mod database;
mod figure;
pub mod load;
mod machine;
mod pipeline;
mod place;

pub use figure::{Goal, Report, median};
pub use machine::{compile, drive};
pub use pipeline::{Form, Noop, pipeline};
pub use place::{bench_folder, program, work_folder};
