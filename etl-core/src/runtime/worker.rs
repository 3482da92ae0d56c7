//! Takes jobs up and has them driven.

use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::driver::{Driver, Shared};
use super::keeper::{Held, Keeper};
use super::plans::Plans;
use super::settings::{OwnJobs, Scope, Settings};
use crate::contract::Delivery;
use crate::contract::store::{ClaimRequest, Claimed, Result};
use crate::engine::{self, Input, JobMachine};
use crate::model::{
    Commit, Event, EventKind, Fault, JobId, JobSnapshot, JobStatus, LeaseRef, WorkerId,
};

/// Claims jobs up to its capacity and drives each in a task of its own.
#[derive(Debug)]
pub struct Worker {
    id: WorkerId,
    shared: Arc<Shared>,
    settings: Settings,
    plans: Plans,
    held: Held,
    own: OwnJobs,
    drivers: JoinSet<(JobId, JobStatus)>,
    /// Whether some hinted job could not be claimed, perhaps because its pipeline was at its limit.
    refused: bool,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, settings: Settings, held: Held, own: OwnJobs) -> Self {
        let plans = Plans::new(Arc::clone(&shared.backends.registry));
        // A new identity at each start: a restarted process is never taken for its past self.
        Self {
            id: WorkerId(Uuid::now_v7()),
            shared,
            settings,
            plans,
            held,
            own,
            drivers: JoinSet::new(),
            refused: false,
        }
    }

    /// Which worker this is.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    pub(crate) fn keeper(&self) -> Keeper {
        let store = self.shared.backends.store.clone();
        Keeper::new(
            store,
            self.id,
            self.held.clone(),
            self.settings.lease,
            self.settings.heartbeat,
        )
    }

    /// How many more jobs it can take.
    pub fn free(&self) -> usize {
        self.settings.max_jobs.saturating_sub(self.drivers.len())
    }

    /// Claims what `deliveries` hint at, or without any whatever waits in the store, and starts to drive it. Answers how
    /// many jobs it took.
    ///
    /// # Errors
    /// If the store can't be reached; the hints are not acknowledged then.
    pub async fn tick(&mut self, deliveries: Vec<Box<dyn Delivery>>) -> Result<usize> {
        let hints: Vec<JobId> = deliveries
            .iter()
            .map(|delivery| delivery.hint().job)
            .collect();
        let hinted = hints.len();
        let jobs = match self.settings.scope {
            Scope::All => (!hints.is_empty()).then_some(hints),
            Scope::Own => {
                let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
                let wanted: Vec<JobId> = if hints.is_empty() {
                    own.iter().copied().collect()
                } else {
                    hints
                };
                Some(wanted.into_iter().filter(|job| own.contains(job)).collect())
            }
        };
        let trusted_until = Keeper::trust(self.settings.lease, self.settings.heartbeat);
        let limit = self.free();
        let claimed = if limit == 0 || jobs.as_ref().is_some_and(Vec::is_empty) {
            Vec::new()
        } else {
            let want = ClaimRequest {
                worker: self.id,
                jobs,
                limit,
                ttl: self.settings.lease,
            };
            self.shared.backends.store.claim(want).await?
        };
        // The lease protects the job from here; a hint with nothing to claim behind it is done with as well.
        for delivery in deliveries {
            if let Err(error) = delivery.ack().await {
                tracing::debug!(%error, "hint not acknowledged, it will come again");
            }
        }
        let count = claimed.len();
        self.refused |= count < hinted;
        for job in claimed {
            self.drive(job, trusted_until).await;
        }
        Ok(count)
    }

    /// Waits until a job that it drives has ended. Answers at once with `None` if it drives none.
    pub async fn ended(&mut self) -> Option<(JobId, JobStatus)> {
        let ended = self.drivers.join_next().await?;
        match ended {
            Ok((job, status)) => {
                self.held.remove(job);
                Some((job, status))
            }
            Err(error) => {
                tracing::error!(%error, "a driver ended abnormally; its job is taken up again when its lease runs out");
                None
            }
        }
    }

    /// Whether a hint was spent on a job that could not be claimed then, so that the end of another job may free it.
    pub fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// Whether it drives no job.
    pub fn is_idle(&self) -> bool {
        self.drivers.is_empty()
    }

    async fn drive(&mut self, claimed: Claimed, trusted_until: tokio::time::Instant) {
        let Claimed { lease, job, .. } = claimed;
        let (id, namespace, started) =
            (job.id, Arc::clone(&job.pipeline.namespace), job.started_at);
        let plan = match self.plans.plan(&job.pipeline, &job.document) {
            Ok(plan) => plan,
            Err(faults) => return self.refuse(lease, &job, &faults).await,
        };
        let (answers, inputs) = mpsc::unbounded_channel();
        self.held.insert(lease, answers.clone(), trusted_until);
        let running = Event {
            job_id: id,
            at: started,
            kind: EventKind::Job {
                status: JobStatus::Running,
                error_message: None,
            },
        };
        if let Err(error) = self.shared.backends.events.publish(vec![running]).await {
            tracing::debug!(%error, "events not published");
        }
        let machine = JobMachine::open(plan, job, lease);
        let driver = Driver::new(
            Arc::clone(&self.shared),
            machine,
            namespace,
            answers,
            inputs,
        );
        self.drivers.spawn(async move { (id, driver.run().await) });
    }

    /// Ends a job whose pipeline this worker can't even compile. It was valid when it was accepted, so the worker is older
    /// or lacks a connector.
    async fn refuse(&self, lease: LeaseRef, job: &JobSnapshot, faults: &[Fault]) {
        let faults: Vec<String> = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.pointer, fault.message))
            .collect();
        let error = format!("this worker can't run the pipeline: {}", faults.join("; "));
        let at = self.shared.backends.clock.now();
        let (answer, mut answered) = mpsc::unbounded_channel::<Input>();
        self.shared.commits.send(
            Commit {
                lease,
                seq: 1,
                at,
                changes: engine::give_up(job, error),
            },
            answer,
        );
        let _ = tokio::time::timeout(self.settings.heartbeat, answered.recv()).await;
    }
}
