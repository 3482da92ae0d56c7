//! Keeps the leases of a worker's jobs, and ends those that can't be trusted any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::contract::store::{JobStore, LeaseState};
use crate::engine::Input;
use crate::model::{JobId, LeaseRef, WorkerId};

/// The jobs that a worker holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held(Arc<Mutex<BTreeMap<JobId, HeldJob>>>);

#[derive(Debug, Clone)]
struct HeldJob {
    lease: LeaseRef,
    inputs: mpsc::UnboundedSender<Input>,
    trusted_until: Instant,
    asked_to_cancel: bool,
}

impl Held {
    pub(crate) fn insert(
        &self,
        lease: LeaseRef,
        inputs: mpsc::UnboundedSender<Input>,
        trusted_until: Instant,
    ) {
        let job = HeldJob {
            lease,
            inputs,
            trusted_until,
            asked_to_cancel: false,
        };
        self.lock().insert(lease.job, job);
    }

    pub(crate) fn remove(&self, job: JobId) {
        self.lock().remove(&job);
    }

    /// Tells the driver of a job at once what the next heartbeat would.
    pub(crate) fn cancel(&self, job: JobId, reason: &str) {
        if let Some(held) = self.lock().get_mut(&job) {
            held.asked_to_cancel = true;
            let _ = held.inputs.send(Input::Cancel {
                reason: reason.into(),
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, HeldJob>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews leases, all in one statement.
#[derive(Debug)]
pub(crate) struct Keeper {
    store: Arc<dyn JobStore>,
    worker: WorkerId,
    held: Held,
    lease: Duration,
    /// How long before its end a lease is no longer trusted.
    margin: Duration,
}

impl Keeper {
    pub(crate) fn new(
        store: Arc<dyn JobStore>,
        worker: WorkerId,
        held: Held,
        lease: Duration,
        margin: Duration,
    ) -> Self {
        Self {
            store,
            worker,
            held,
            lease,
            margin,
        }
    }

    /// How long a lease is trusted that was asked for now.
    pub(crate) fn trust(lease: Duration, margin: Duration) -> Instant {
        Instant::now() + lease.saturating_sub(margin)
    }

    /// One heartbeat.
    pub(crate) async fn tick(&self) {
        // From the time of asking, not of the answer: the store may have counted from then.
        let trusted_until = Self::trust(self.lease, self.margin);
        let leases: Vec<LeaseRef> = self.held.lock().values().map(|held| held.lease).collect();
        if leases.is_empty() {
            return;
        }
        let renewed = tokio::time::timeout(
            self.margin,
            self.store.renew(self.worker, &leases, self.lease),
        )
        .await;
        match renewed {
            Ok(Ok(states)) => self.tell(&leases, &states, trusted_until),
            Ok(Err(error)) => tracing::warn!(%error, jobs = leases.len(), "leases not renewed"),
            Err(_) => tracing::warn!(jobs = leases.len(), "leases not renewed in time"),
        }
        self.give_up_untrusted();
    }

    fn tell(&self, leases: &[LeaseRef], states: &[LeaseState], trusted_until: Instant) {
        let mut held = self.held.lock();
        for (lease, state) in leases.iter().zip(states) {
            let Some(job) = held.get_mut(&lease.job).filter(|job| job.lease == *lease) else {
                continue;
            };
            match state {
                LeaseState::Held => job.trusted_until = trusted_until,
                LeaseState::Cancel => {
                    job.trusted_until = trusted_until;
                    if !std::mem::replace(&mut job.asked_to_cancel, true) {
                        let _ = job.inputs.send(Input::Cancel {
                            reason: "cancelled".into(),
                        });
                    }
                }
                LeaseState::Lost => {
                    let _ = job.inputs.send(Input::LeaseLost);
                }
            }
        }
    }

    fn give_up_untrusted(&self) {
        let now = Instant::now();
        for held in self
            .held
            .lock()
            .values()
            .filter(|held| held.trusted_until <= now)
        {
            tracing::warn!(job_id = %held.lease.job, "lease not trusted any more, the job's steps are stopped");
            let _ = held.inputs.send(Input::LeaseLost);
        }
    }
}
