//! The store itself, as it is or with a planted bug.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::contract::store::{
    ClaimRequest, Claimed, HookStore, JobStore, Journal, LeaseState, ReapRequest, Result,
    SettledHook, Submitted, WaitingHook,
};
use crate::model::{Change, Commit, JobId, JobStatus, LeaseRef, NewJob, Verdict, WorkerId};
use crate::testing::sim::bug::Bug;
use crate::testing::sim::state::Sim;

/// What a store with a bug remembers beside its rows.
#[derive(Debug, Default)]
pub(in crate::testing::sim) struct Bent {
    /// What was claimed last.
    last: Option<Claimed>,
    /// The running jobs whose end was asked for.
    asked: BTreeSet<JobId>,
}

pub(super) async fn submit(sim: &Sim, mut job: NewJob) -> Result<Submitted> {
    if sim.has(Bug::SlotsNotCounted) {
        Arc::make_mut(&mut job.document).concurrency = None;
    }
    if sim.has(Bug::AcceptedTwice) {
        job.idempotency_key = None;
        if sim.memory.job(job.id).await?.is_some() {
            let (high, low) = job.id.0.as_u64_pair();
            job.id = JobId(Uuid::from_u64_pair(high + 1, low));
        }
    }
    sim.memory.submit(job).await
}

pub(super) async fn claim(sim: &Sim, want: ClaimRequest) -> Result<Vec<Claimed>> {
    let limit = want.limit;
    let mut claimed = sim.memory.claim(want).await?;
    if sim.has(Bug::ClaimWithoutCount) {
        let bent = &mut sim.lock().bent;
        if claimed.is_empty() && limit > 0 {
            claimed.extend(bent.last.take());
        } else if let Some(last) = claimed.last() {
            bent.last = Some(last.clone());
        }
    }
    if sim.has(Bug::CheckpointOffByOne) {
        let steps = claimed
            .iter_mut()
            .flat_map(|claimed| &mut claimed.job.steps);
        for (_, state) in steps.filter_map(|step| step.checkpoint.as_mut()) {
            *state = (state.as_u64().unwrap_or(1) - 1).into();
        }
    }
    Ok(claimed)
}

pub(super) async fn renew(
    sim: &Sim,
    worker: WorkerId,
    leases: &[LeaseRef],
    ttl: Duration,
) -> Result<Vec<LeaseState>> {
    let mut states = sim.memory.renew(worker, leases, ttl).await?;
    for (state, lease) in states.iter_mut().zip(leases) {
        match *state {
            LeaseState::Lost if sim.has(Bug::HeartbeatByJob) => {
                if let Some(job) = sim.memory.job(lease.job).await?
                    && let Some(owner) = job.worker_id
                {
                    let lease = LeaseRef {
                        job: job.id,
                        fence: job.fence,
                    };
                    let renewed = sim.memory.renew(owner, &[lease], ttl).await?;
                    *state = renewed.first().copied().unwrap_or(LeaseState::Lost);
                }
            }
            LeaseState::Cancel if sim.has(Bug::CancelSkipsRunning) => *state = LeaseState::Held,
            LeaseState::Held if sim.lock().bent.asked.contains(&lease.job) => {
                *state = LeaseState::Cancel;
            }
            _ => {}
        }
    }
    Ok(states)
}

pub(super) async fn commit(sim: &Sim, batch: &[Commit]) -> Result<Vec<Verdict>> {
    if sim.has(Bug::ConfirmedTooEarly) && sim.lock().rng.chance(20) {
        return Ok(vec![Verdict::Applied; batch.len()]);
    }
    if !matches!(
        sim.bug,
        Some(
            Bug::CompleteWithoutFence
                | Bug::CrashNotCounted
                | Bug::LetterApart
                | Bug::GivenBackIsLost
        )
    ) {
        return sim.memory.commit(batch).await;
    }
    let mut bent = batch.to_vec();
    for commit in &mut bent {
        if sim.has(Bug::CompleteWithoutFence)
            && let Some(job) = sim.memory.job(commit.lease.job).await?
        {
            commit.lease.fence = job.fence;
        }
        if sim.has(Bug::LetterApart) && sim.lock().rng.chance(300) {
            commit
                .changes
                .retain(|change| !matches!(change, Change::Bury(_)));
        }
        for change in &mut commit.changes {
            let Change::Step { patch, .. } = change else {
                continue;
            };
            if sim.has(Bug::CrashNotCounted) {
                patch.lost = None;
            }
            if sim.has(Bug::GivenBackIsLost) {
                patch.lost = patch.returned.take().or(patch.lost);
            }
        }
    }
    sim.memory.commit(&bent).await
}

pub(super) async fn cancel(sim: &Sim, job: JobId, reason: &str) -> Result<JobStatus> {
    if sim.has(Bug::ReapIgnoresCancel)
        && let Some(record) = sim.memory.job(job).await?
        && record.status == JobStatus::Running
    {
        sim.lock().bent.asked.insert(job);
        return Ok(record.status);
    }
    sim.memory.cancel(job, reason).await
}

pub(super) async fn reap(sim: &Sim, want: ReapRequest) -> Result<Vec<JobId>> {
    sim.store_clock.be_hasty(sim.has(Bug::UnguardedReaper));
    let reaped = sim.memory.reap(want).await;
    sim.store_clock.be_hasty(false);
    reaped
}

pub(super) async fn waiting_hooks(sim: &Sim, limit: usize) -> Result<Vec<WaitingHook>> {
    let waiting = sim.memory.waiting_hooks(limit).await?;
    if sim.has(Bug::HookSettledFirst) {
        for hook in &waiting {
            let settled = SettledHook {
                job: hook.job,
                position: hook.hook.position,
                error: None,
            };
            sim.memory.settle_hook(settled).await?;
        }
    }
    Ok(waiting)
}
