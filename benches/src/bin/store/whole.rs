//! The store under the whole engine: every service of the runtime, as an embedded program has them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use etl_benches::load::{Load, trigger};
use etl_benches::{Form, Noop, pipeline};
use etl_core::runtime::SystemClock;
use etl_core::sdk::{Etl, EtlBuilder};
use etl_store_sqlite::SqliteStore;

/// How the engine is set up and used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// `(max_jobs, max_steps)`, or the defaults.
    limits: Option<(usize, usize)>,
    load: Load,
}

pub(crate) const SETUPS: [Setup; 3] = [
    Setup {
        name: "defaults, 64 callers",
        limits: None,
        load: Load {
            callers: 64,
            waits: false,
        },
    },
    Setup {
        name: "256 jobs and steps at once, 256 callers",
        limits: Some((256, 256)),
        load: Load {
            callers: 256,
            waits: false,
        },
    },
    Setup {
        name: "the same, callers wait for the end",
        limits: Some((256, 256)),
        load: Load {
            callers: 256,
            waits: true,
        },
    },
];

/// How many one-step jobs a second, from the first submission to the last end.
pub(crate) async fn jobs(folder: &Path, jobs: usize, setup: Setup) -> Result<f64> {
    let (etl, store) = start(folder, setup.limits).await?;
    let stored = etl.put(&pipeline(Form::Wide, 1)).await?;
    let rate = setup.load.run(&etl, &stored, jobs).await?;
    etl.shutdown().await;
    store.close().await;
    Ok(rate)
}

/// How many steps a second, of one job with so many.
pub(crate) async fn steps(folder: &Path, form: Form, steps: usize) -> Result<f64> {
    let (etl, store) = start(folder, Some((32, 256))).await?;
    let stored = etl.put(&pipeline(form, steps)).await?;
    let began = Instant::now();
    let outcome = etl.submit(&stored, trigger()).await?.wait().await?;
    let took = began.elapsed();
    ensure!(outcome.is_success() && outcome.steps.len() == steps);
    etl.shutdown().await;
    store.close().await;
    Ok(steps as f64 / took.as_secs_f64())
}

async fn start(folder: &Path, limits: Option<(usize, usize)>) -> Result<(Etl, Arc<SqliteStore>)> {
    let store = SqliteStore::open(folder.join("whole.db"), Arc::new(SystemClock)).await?;
    let store = Arc::new(store);
    let builder: EtlBuilder = Etl::builder().connector(Noop).store(store.clone());
    let builder = match limits {
        Some((jobs, steps)) => builder.max_jobs(jobs).max_steps(steps),
        None => builder,
    };
    Ok((builder.build(), store))
}
