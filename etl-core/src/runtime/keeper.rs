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
    told_lost: bool,
}

/// A job's place among those that are held. Dropping it gives the place up, so that the lease of a job whose driver is
/// gone, however it went, is not renewed any more.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Held,
    lease: LeaseRef,
}

impl Hold {
    pub(crate) fn lease(&self) -> LeaseRef {
        self.lease
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        // The place may be a later lease's by now.
        if held
            .get(&self.lease.job)
            .is_some_and(|job| job.lease == self.lease)
        {
            held.remove(&self.lease.job);
        }
    }
}

impl Held {
    pub(crate) fn hold(
        &self,
        lease: LeaseRef,
        inputs: mpsc::UnboundedSender<Input>,
        trusted_until: Instant,
    ) -> Hold {
        let job = HeldJob {
            lease,
            inputs,
            trusted_until,
            asked_to_cancel: false,
            told_lost: false,
        };
        self.lock().insert(lease.job, job);
        Hold {
            held: self.clone(),
            lease,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn holds(&self, job: JobId) -> bool {
        self.lock().contains_key(&job)
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

/// How long a look at the trust in leases may be away from the next.
const LOOK: Duration = Duration::from_secs(1);

/// Renews leases, all in one statement, and ends those that can't be trusted any more.
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
    }

    /// Ends the jobs whose leases are not trusted any more, and answers when to look again. It asks nobody and waits for
    /// nothing: a heartbeat that hangs must not hold it up.
    pub(crate) fn give_up_untrusted(&self) -> Instant {
        let now = Instant::now();
        let mut next = now + LOOK;
        for job in self.held.lock().values_mut() {
            if job.trusted_until > now {
                next = next.min(job.trusted_until);
            } else if !std::mem::replace(&mut job.told_lost, true) {
                tracing::warn!(job_id = %job.lease.job, "lease not trusted any more, the job's steps are stopped");
                let _ = job.inputs.send(Input::LeaseLost);
            }
        }
        next
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
                    if !std::mem::replace(&mut job.told_lost, true) {
                        let _ = job.inputs.send(Input::LeaseLost);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fence;

    #[tokio::test]
    async fn a_hold_gives_up_its_own_lease_and_no_later_one() {
        let held = Held::default();
        let (inputs, _heard) = mpsc::unbounded_channel();
        let job = JobId(uuid::Uuid::nil());
        let hold = |fence| {
            let lease = LeaseRef {
                job,
                fence: Fence(fence),
            };
            held.hold(lease, inputs.clone(), Instant::now())
        };
        let (first, second) = (hold(1), hold(2));
        drop(first);
        assert!(held.holds(job));
        drop(second);
        assert!(!held.holds(job));
    }
}
