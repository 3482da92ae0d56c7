//! The one place that commits. A store groups what comes to it at the same time (its contract), so nothing is gathered here.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::contract::store::{JobStore, StoreErrorKind};
use crate::model::{Commit, JobStatus, Verdict};

/// Commits, and does not give up while the store can't be reached: the sequence numbers make sending again safe, and the
/// keeper ends jobs whose lease can't be trusted any more. Only to be dropped when that job is given up, too.
pub(crate) async fn commit(store: &dyn JobStore, commit: Commit) -> Verdict {
    let spread = commit.lease.job.0.as_u64_pair().1 ^ commit.seq;
    let mut waits = store_waits(spread).build();
    loop {
        match store.commit(std::slice::from_ref(&commit)).await {
            Ok(verdicts) => {
                return verdicts.into_iter().next().unwrap_or(Verdict::Lost {
                    now: JobStatus::Running,
                });
            }
            Err(error)
                if matches!(
                    error.kind,
                    StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
                ) =>
            {
                tracing::warn!(%error, job_id = %commit.lease.job, "commit not confirmed, sending it again");
                tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
            }
            Err(error) => {
                tracing::error!(%error, job_id = %commit.lease.job, "commit refused, the job is given up");
                return Verdict::Lost {
                    now: JobStatus::Running,
                };
            }
        }
    }
}

/// The longest wait between two tries to reach a store.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The waits between tries to reach a store. They are spread by what is sent or who asks and not by chance, so that a simulated
/// run is a function of its seed.
pub(crate) fn store_waits(spread: u64) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST_WAIT)
        .with_jitter()
        .with_jitter_seed(spread)
        .without_max_times()
}
