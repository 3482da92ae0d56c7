//! What goes through the embedded store with every state on the disk (`synchronous=FULL`), beside what the disk gives to plain
//! SQLite in the same run.
//!
//! `store [JOBS]`: how many one-step jobs a round has, by default 5,000.

mod bare;
mod disk;
mod whole;

use anyhow::{Context, Result};
use etl_benches::{Form, Goal, Report, work_folder};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;

/// One-step jobs a second, every state of them durable.
const GOAL: Goal = Goal::AtLeast(1000.0);

/// Steps of the jobs that steps are counted by.
const STEPS: usize = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    let jobs = match std::env::args().nth(1) {
        Some(text) => text
            .parse()
            .with_context(|| format!("{text:?} is no number of jobs"))?,
        None => 5_000,
    };
    let mut report = Report::new("store");
    report.fact("jobs", jobs);

    let mut runs = Vec::new();
    for _ in 0..ROUNDS {
        runs.push(disk::transactions(work_folder()?.path()).await?);
    }
    report.add(
        "disk: plain SQLite, one row a transaction",
        "tx/s",
        runs,
        None,
    );

    for callers in [1, 64, 256] {
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            // A lone caller waits for the disk at every state, so fewer jobs tell as much.
            let jobs = if callers == 1 { jobs / 20 } else { jobs };
            runs.push(bare::jobs(work_folder()?.path(), jobs, callers).await?);
        }
        report.add(
            format!("bare store: one-step jobs, {callers} at once"),
            "jobs/s",
            runs,
            None,
        );
    }

    for setup in whole::SETUPS {
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            runs.push(whole::jobs(work_folder()?.path(), jobs, setup).await?);
        }
        report.add(
            format!("engine: one-step jobs, {}", setup.name),
            "jobs/s",
            runs,
            Some(GOAL),
        );
    }

    for form in Form::ALL {
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            runs.push(whole::steps(work_folder()?.path(), form, STEPS).await?);
        }
        report.add(
            format!("engine: steps of one job of {STEPS}, {}", form.name()),
            "steps/s",
            runs,
            None,
        );
    }
    report.keep()?;
    Ok(())
}
