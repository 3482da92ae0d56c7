//! The memory store as a client of a run sees it: over a line that is slow, refuses and loses answers. Between the line and the
//! store stands the ledger, which looks at every question and answer.

mod bent;
mod readers;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use super::bug::Bug;
use super::state::{Sim, State};
use super::trace::{FOLLOWERS, Line, Who, number};
use crate::contract::store::{
    ClaimRequest, Claimed, JobStore, LeaseState, ReapRequest, Result, StoreError, StoreErrorKind,
    Submitted,
};
use crate::model::{
    Change, Commit, Hint, JobId, JobStatus, LeaseRef, NewJob, TriggerType, Verdict, WorkerId,
};
pub(super) use bent::Bent;

/// The store as one client sees it.
pub(super) struct SimStore {
    sim: Arc<Sim>,
    who: Who,
    /// On which host the client is.
    host: Option<usize>,
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStore({})", self.who)
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Refused,
    /// It does not reach the store, and the client can't know.
    LostThere,
    /// It is done, and the answer does not reach the client.
    LostBack,
}

impl SimStore {
    pub(super) fn new(sim: &Arc<Sim>, who: Who, host: Option<usize>) -> Self {
        Self {
            sim: Arc::clone(sim),
            who,
            host,
        }
    }

    /// What becomes of the next call, and how long it takes there and back.
    fn fate(&self, op: &'static str) -> (Fate, Duration, Duration) {
        let mut state = self.sim.lock();
        if state.healthy_since.is_some() {
            return (Fate::Done, Duration::ZERO, state.rng.millis(0, 3));
        }
        let at = self.sim.began.elapsed();
        let is_cut = |outage: &super::scenario::Outage| {
            (outage.from..outage.to).contains(&at)
                && outage.host.is_none_or(|host| Some(host) == self.host)
        };
        let weather = self.sim.weather(&state);
        let (there, back) = if state.rng.chance(weather.slow) {
            (state.rng.millis(0, 9_000), state.rng.millis(0, 9_000))
        } else {
            (state.rng.millis(0, 2), state.rng.millis(0, 4))
        };
        let fate =
            if self.sim.scenario.outages.iter().any(is_cut) || state.rng.chance(weather.refused) {
                Fate::Refused
            } else if state.rng.chance(weather.unknown) {
                if state.rng.chance(500) {
                    Fate::LostThere
                } else {
                    Fate::LostBack
                }
            } else {
                Fate::Done
            };
        let told = match fate {
            Fate::Done => return (fate, there, back),
            Fate::Refused => "refused",
            Fate::LostThere => "lost on the way, outcome unknown",
            Fate::LostBack => "done, outcome unknown",
        };
        state.note(self.who, Line::Fault(op, told));
        (fate, there, back)
    }

    async fn call<T>(
        &self,
        op: &'static str,
        act: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let (fate, there, back) = self.fate(op);
        wait(there).await;
        let answer = match fate {
            Fate::Done | Fate::LostBack => act.await,
            Fate::Refused => Err(StoreError::new(op, StoreErrorKind::Unavailable)),
            Fate::LostThere => Err(StoreError::new(op, StoreErrorKind::OutcomeUnknown)),
        };
        wait(back).await;
        if fate == Fate::LostBack {
            return Err(StoreError::new(op, StoreErrorKind::OutcomeUnknown));
        }
        answer
    }

    /// How long a lease that a worker asks for is in the store.
    fn ttl(&self, asked: Duration) -> Duration {
        if self.sim.has(Bug::TrustTooLong) {
            asked / 3
        } else {
            asked
        }
    }

    fn note(&self, line: Line) {
        self.sim.note(self.who, line);
    }
}

async fn wait(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl JobStore for SimStore {
    async fn submit(&self, mut job: NewJob) -> Result<Submitted> {
        if job.trigger_type == TriggerType::Pipeline {
            // The finisher gives ids by chance, and that would not come from the seed.
            job.id = follower(&job);
        }
        self.call("submit", async {
            let (asked, document) = (job.id, Arc::clone(&job.document));
            let answer = bent::submit(&self.sim, job).await?;
            self.note(match answer {
                Submitted::New(job) => Line::Accepted(job),
                Submitted::Existing(job) | Submitted::KeyTaken(job) => Line::KnownAlready(job),
            });
            let now = self.sim.now();
            let law = self
                .sim
                .lock()
                .ledger
                .submitted(asked, &document, answer, now);
            self.sim.require(law);
            Ok(answer)
        })
        .await
    }

    async fn waiting(&self, older_than: Duration, limit: usize) -> Result<Vec<Hint>> {
        let read = self.sim.memory.waiting(older_than, limit);
        self.call("waiting", read).await
    }

    async fn dispatched(&self, jobs: &[JobId]) -> Result<()> {
        self.call("dispatched", async {
            self.sim.memory.dispatched(jobs).await?;
            let mut state = self.sim.lock();
            for job in jobs {
                if state.ledger.dispatched(*job) {
                    state.note(self.who, Line::Queued(*job));
                }
            }
            Ok(())
        })
        .await
    }

    async fn claim(&self, mut want: ClaimRequest) -> Result<Vec<Claimed>> {
        want.ttl = self.ttl(want.ttl);
        self.call("claim", async {
            let claimed = bent::claim(&self.sim, want.clone()).await?;
            for claimed in &claimed {
                let LeaseRef { job, fence } = claimed.lease;
                self.note(Line::Claimed(job, fence.0));
            }
            let now = self.sim.now();
            let law = {
                let mut state = self.sim.lock();
                let law = state.ledger.claimed(&want, &claimed, now);
                law.and_then(|()| no_other_owner(&state, self.who, &claimed))
            };
            self.sim.require(law);
            Ok(claimed)
        })
        .await
    }

    async fn renew(
        &self,
        worker: WorkerId,
        leases: &[LeaseRef],
        ttl: Duration,
    ) -> Result<Vec<LeaseState>> {
        let ttl = self.ttl(ttl);
        self.call("renew", async {
            let states = bent::renew(&self.sim, worker, leases, ttl).await?;
            let now = self.sim.now();
            for (lease, held) in leases.iter().zip(&states) {
                self.note(Line::Renewed(lease.job, lease.fence.0, *held));
                let law = self
                    .sim
                    .lock()
                    .ledger
                    .renewed(worker, *lease, *held, ttl, now);
                self.sim.require(law);
            }
            Ok(states)
        })
        .await
    }

    async fn commit(&self, batch: &[Commit]) -> Result<Vec<Verdict>> {
        let answer = self
            .call("commit", async {
                let answer = bent::commit(&self.sim, batch).await;
                for (at, commit) in batch.iter().enumerate() {
                    let verdict = answer.as_ref().map(|verdicts| verdicts[at]);
                    if let Ok(verdict) = verdict {
                        self.note_commit(commit, verdict);
                    }
                    let now = self.sim.now();
                    let law = {
                        let state = &mut *self.sim.lock();
                        let effects = state.attempts.effects();
                        let law = state.ledger.committed(commit, verdict, effects, now);
                        let job = commit.lease.job;
                        let is_back = verdict.is_ok_and(|verdict| verdict == Verdict::Applied)
                            && commit.changes.iter().any(is_handing_back);
                        law.and_then(|()| {
                            if is_back {
                                hands_back(state, self.who, job)
                            } else {
                                Ok(())
                            }
                        })
                    };
                    self.sim.require(law);
                }
                answer
            })
            .await;
        match answer {
            Err(error)
                if error.kind == StoreErrorKind::OutcomeUnknown
                    && self.sim.has(Bug::UnknownIsSuccess) =>
            {
                Ok(vec![Verdict::Applied; batch.len()])
            }
            answer => answer,
        }
    }

    async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus> {
        self.call("cancel", async {
            let status = bent::cancel(&self.sim, job, reason).await?;
            self.note(Line::CancelAsked(job, status));
            let now = self.sim.now();
            let law = self.sim.lock().ledger.cancelled(job, status, now);
            self.sim.require(law);
            Ok(status)
        })
        .await
    }

    async fn reap(&self, want: ReapRequest) -> Result<Vec<JobId>> {
        self.call("reap", async {
            let reaped = bent::reap(&self.sim, want).await?;
            let now = self.sim.now();
            for job in &reaped {
                self.note(Line::Reaped(*job));
                let law = self.sim.lock().ledger.reaped(*job, now);
                self.sim.require(law);
            }
            Ok(reaped)
        })
        .await
    }
}

fn is_handing_back(change: &Change) -> bool {
    matches!(change, Change::Job { to, .. } if *to == JobStatus::Pending)
}

impl SimStore {
    fn note_commit(&self, commit: &Commit, verdict: Verdict) {
        let LeaseRef { job, fence } = commit.lease;
        self.note(Line::Commit(job, fence.0, commit.seq, verdict));
        if verdict != Verdict::Applied {
            return;
        }
        for change in &commit.changes {
            self.note(match change {
                Change::Job { to, .. } => Line::Job(job, *to),
                Change::Step {
                    key, attempt, to, ..
                } => Line::Step(job, *key, *attempt, *to),
                Change::Expand { step, items } => Line::FansOut(job, *step, items.len() as u32),
                Change::Checkpoint { key, seq, .. } => Line::Checkpoint(job, *key, *seq),
                Change::Bury(letter) => Line::Letter(job, letter.key),
                Change::Hook(hook) => Line::Hook(job, hook.position),
            });
        }
    }
}

/// The id of a job that a hook started, by the job that left the hook.
fn follower(job: &NewJob) -> JobId {
    let before = job.context.get("after_job").and_then(Value::as_str);
    let before = before.and_then(|id| id.parse().ok());
    let number = FOLLOWERS + before.map_or(0, number);
    JobId(Uuid::from_u64_pair(
        (number << 16) | 0x7000,
        (1 << 63) | number,
    ))
}

/// Only a process that was told to stop hands a job back, and nothing of it runs there any more.
fn hands_back(state: &State, who: Who, job: JobId) -> Result<(), String> {
    let Who::Process(id) = who else { return Ok(()) };
    let n = number(job);
    if !state
        .processes
        .get(&id)
        .is_some_and(|process| process.is_draining)
    {
        return Err(format!(
            "I-17: {who} hands job {n} back and was not told to stop"
        ));
    }
    match state
        .attempts
        .inside(job)
        .find(|(process, _)| *process == id)
    {
        Some((_, key)) => Err(format!(
            "I-17: {who} hands job {n} back and still runs step {} of it",
            key.step
        )),
        None => Ok(()),
    }
}

/// A job that is given to somebody has no attempts in the process of somebody else, unless that stood still and does not know.
fn no_other_owner(state: &State, who: Who, claimed: &[Claimed]) -> Result<(), String> {
    for claimed in claimed {
        let others = state.attempts.inside(claimed.lease.job);
        let awake =
            others.filter(|(process, _)| Who::Process(*process) != who && !state.is_late(*process));
        if let Some((process, key)) = awake.into_iter().next() {
            return Err(format!(
                "I-4: job {} is given to {who}, and w{process} still runs step {} of it",
                number(key.job),
                key.step
            ));
        }
    }
    Ok(())
}
