//! Deployments of the built program whose parts die: workers, schedulers, the database, the broker. Nothing that was accepted is
//! lost, nothing that succeeded is repeated, and all goes on within the promised time.
//!
//! PostgreSQL and RabbitMQ are killed here, so that these tests have a set of `scripts/services` to themselves, and run one at a
//! time. They are small by default; `ETL_CRASH_…` variables make them as large as wanted (CONTRIBUTING.md).
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "the helpers of tests are tests"
)]

#[path = "../program/mod.rs"]
mod program;

mod between;
mod broker;
mod fleet;
mod frozen;
mod ledger;
mod outage;
mod schedulers;
mod services;
mod takeover;
mod workers;

use std::time::Duration;

/// How large a test is, or how long.
fn size(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn seconds(variable: &str, default: u64) -> Duration {
    Duration::from_secs(size(variable, default))
}
