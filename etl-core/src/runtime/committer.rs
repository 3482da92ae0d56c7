//! The one place that commits: whatever the jobs of a worker decided while the last transaction was under way goes into
//! the next one. No timer is added.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::mpsc;

use crate::contract::store::{JobStore, StoreErrorKind};
use crate::engine::Input;
use crate::model::{Commit, JobStatus, Verdict};

/// The most commits in one transaction.
const BATCH: usize = 512;

/// Sends commits to the committer.
#[derive(Debug, Clone)]
pub(crate) struct CommitSender(mpsc::UnboundedSender<Request>);

#[derive(Debug)]
struct Request {
    commit: Commit,
    answer: mpsc::UnboundedSender<Input>,
}

impl CommitSender {
    /// Commits; the verdict comes to `answer` as an input. Never waits: a job has at most one commit under way.
    pub(crate) fn send(&self, commit: Commit, answer: mpsc::UnboundedSender<Input>) {
        if let Err(mpsc::error::SendError(Request { commit, answer })) =
            self.0.send(Request { commit, answer })
        {
            // The runtime has shut down: whoever takes the job over goes on from what is remembered.
            let _ = answer.send(Input::Committed {
                seq: commit.seq,
                verdict: Verdict::Lost {
                    now: JobStatus::Running,
                },
            });
        }
    }
}

/// Commits in groups until every sender is gone.
#[derive(Debug)]
pub(crate) struct Committer {
    store: Arc<dyn JobStore>,
    requests: mpsc::UnboundedReceiver<Request>,
}

impl Committer {
    pub(crate) fn new(store: Arc<dyn JobStore>) -> (Self, CommitSender) {
        let (sender, requests) = mpsc::unbounded_channel();
        (Self { store, requests }, CommitSender(sender))
    }

    pub(crate) async fn run(mut self) {
        let mut waiting = Vec::new();
        while self.requests.recv_many(&mut waiting, BATCH).await > 0 {
            let (commits, answers): (Vec<_>, Vec<_>) =
                waiting.drain(..).map(|r| (r.commit, r.answer)).unzip();
            let verdicts = self.commit(&commits).await;
            for ((commit, answer), verdict) in commits.iter().zip(answers).zip(verdicts) {
                // A driver that is gone has lost its lease; nobody waits for this answer.
                let _ = answer.send(Input::Committed {
                    seq: commit.seq,
                    verdict,
                });
            }
        }
    }

    /// Commits, and does not give up while the store can't be reached: the sequence numbers make sending again safe, and
    /// the keeper ends jobs whose lease can't be trusted any more.
    async fn commit(&self, commits: &[Commit]) -> Vec<Verdict> {
        let mut waits = store_waits().build();
        loop {
            match self.store.commit(commits).await {
                Ok(verdicts) => return verdicts,
                Err(error)
                    if matches!(
                        error.kind,
                        StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
                    ) =>
                {
                    tracing::warn!(%error, commits = commits.len(), "commit not confirmed, sending it again");
                    tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
                }
                Err(error) => {
                    let [only] = commits else {
                        return self.one_by_one(commits).await;
                    };
                    tracing::error!(%error, job_id = %only.lease.job, "commit refused, the job is given up");
                    return vec![Verdict::Lost {
                        now: JobStatus::Running,
                    }];
                }
            }
        }
    }

    /// Finds the commit that the store refuses, so that the others of its group don't suffer.
    async fn one_by_one(&self, commits: &[Commit]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(commits.len());
        for commit in commits {
            verdicts.extend(Box::pin(self.commit(std::slice::from_ref(commit))).await);
        }
        verdicts
    }
}

/// The longest wait between two tries to reach a store.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The waits between tries to reach a store.
pub(crate) fn store_waits() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST_WAIT)
        .with_jitter()
        .without_max_times()
}
