//! The services together, in memory, under a clock that passes by itself when there is nothing to do.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod dependents;
mod events;
mod jobs;
mod probe;
mod retention;
mod schedules;
mod workers;
