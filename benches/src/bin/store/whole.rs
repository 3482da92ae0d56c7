//! The store under the whole engine: every service of the runtime, as an embedded program has them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use etl_benches::{Form, Noop, pipeline};
use etl_core::contract::Received;
use etl_core::contract::store::{Journal, StoredPipeline};
use etl_core::model::{By, EventKind, JobFilter, JobStatus, PageRequest, TriggerType};
use etl_core::runtime::{SystemClock, Trigger};
use etl_core::sdk::{Etl, EtlBuilder};
use etl_store_sqlite::SqliteStore;
use futures_util::StreamExt;
use futures_util::stream::{self, TryStreamExt};
use serde_json::Map;

/// How the engine is set up and used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// `(max_jobs, max_steps)`, or the defaults.
    limits: Option<(usize, usize)>,
    /// How many jobs are submitted at once.
    callers: usize,
    /// Whether each caller waits for its job's end before it submits the next.
    waits: bool,
}

pub(crate) const SETUPS: [Setup; 3] = [
    Setup {
        name: "defaults, 64 callers",
        limits: None,
        callers: 64,
        waits: false,
    },
    Setup {
        name: "256 jobs and steps at once, 256 callers",
        limits: Some((256, 256)),
        callers: 256,
        waits: false,
    },
    Setup {
        name: "the same, callers wait for the end",
        limits: Some((256, 256)),
        callers: 256,
        waits: true,
    },
];

/// How long nothing may be heard before the store is asked.
const QUIET: Duration = Duration::from_millis(500);

/// How many one-step jobs a second, from the first submission to the last end.
pub(crate) async fn jobs(folder: &Path, jobs: usize, setup: Setup) -> Result<f64> {
    let (etl, store) = start(folder, setup.limits).await?;
    let stored = etl.put(&pipeline(Form::Wide, 1)).await?;
    let began = Instant::now();
    if setup.waits {
        stream::iter(0..jobs)
            .map(|_| async {
                let outcome = etl.submit(&stored, trigger()).await?.wait().await?;
                ensure!(outcome.is_success());
                Ok(())
            })
            .buffer_unordered(setup.callers)
            .try_collect::<Vec<()>>()
            .await?;
    } else {
        submit_and_count(&etl, &stored, jobs, setup.callers).await?;
    }
    let took = began.elapsed();
    ensure!(
        open_or_failed(&*store).await? == 0,
        "not every job succeeded"
    );
    etl.shutdown().await;
    store.close().await;
    Ok(jobs as f64 / took.as_secs_f64())
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

fn trigger() -> Trigger {
    Trigger::new(TriggerType::Api, By::system(), Map::new())
}

/// Submits jobs and hears of their ends as one watcher of all.
async fn submit_and_count(
    etl: &Etl,
    stored: &StoredPipeline,
    jobs: usize,
    callers: usize,
) -> Result<()> {
    let Some(mut watcher) = etl.watch(None).await else {
        bail!("the event bus can't be watched");
    };
    let submitted = async {
        stream::iter(0..jobs)
            .map(|_| etl.submit(stored, trigger()))
            .buffer_unordered(callers)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        anyhow::Ok(())
    };
    let ended = async {
        let mut ended = 0;
        while ended < jobs {
            match tokio::time::timeout(QUIET, watcher.next()).await {
                Ok(Some(Received::Event(event))) => {
                    ended += usize::from(matches!(
                        event.kind,
                        EventKind::Job { status, .. } if status.is_terminal()
                    ));
                }
                // Notices are no promise: what was missed has ended when nothing is open any more.
                Ok(Some(Received::Missed(_))) => {}
                Ok(None) | Err(_) => {
                    if open_or_failed(&**etl.store()).await? == 0 {
                        break;
                    }
                }
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(submitted, ended)?;
    Ok(())
}

/// How many jobs, up to a page, are not in `success`.
async fn open_or_failed(store: &(impl Journal + ?Sized)) -> Result<usize> {
    let status = JobStatus::ALL
        .iter()
        .copied()
        .filter(|status| *status != JobStatus::Success)
        .collect();
    let filter = JobFilter {
        status,
        ..JobFilter::default()
    };
    Ok(store
        .jobs(&filter, &PageRequest::first(1))
        .await?
        .items
        .len())
}
