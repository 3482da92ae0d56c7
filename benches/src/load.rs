//! One-step jobs that are submitted as fast as they are accepted, and the time until the last of them has ended.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use etl_core::contract::Received;
use etl_core::contract::store::{Journal, StoredPipeline};
use etl_core::model::{By, EventKind, JobFilter, JobStatus, PageRequest, TriggerType};
use etl_core::runtime::Trigger;
use etl_core::sdk::Etl;
use futures_util::StreamExt;
use futures_util::stream::{self, TryStreamExt};
use serde_json::Map;

/// How long nothing may be heard before the store is asked.
const QUIET: Duration = Duration::from_millis(500);

/// How jobs are submitted.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many at once.
    pub callers: usize,
    /// Whether each caller waits for its job's end before it submits the next.
    pub waits: bool,
}

impl Load {
    /// How many jobs a second, from the first submission to the last end.
    ///
    /// # Errors
    /// If not all of them succeed.
    pub async fn run(self, etl: &Etl, stored: &StoredPipeline, jobs: usize) -> Result<f64> {
        let began = Instant::now();
        if self.waits {
            stream::iter(0..jobs)
                .map(|_| async {
                    let outcome = etl.submit(stored, trigger()).await?.wait().await?;
                    ensure!(outcome.is_success());
                    Ok(())
                })
                .buffer_unordered(self.callers)
                .try_collect::<Vec<()>>()
                .await?;
        } else {
            submit_and_count(etl, stored, jobs, self.callers).await?;
        }
        let took = began.elapsed();
        ensure!(
            open_or_failed(&**etl.store()).await? == 0,
            "not every job succeeded"
        );
        Ok(jobs as f64 / took.as_secs_f64())
    }
}

/// What makes a job of a load.
pub fn trigger() -> Trigger {
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
