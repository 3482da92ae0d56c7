//! The laws of leases: who has a job, and who may take it.

use super::{Job, Law, Ledger, law};
use crate::contract::store::{ClaimRequest, Claimed, LeaseState};
use crate::model::{JobId, JobSnapshot, JobStatus, LeaseRef, StepStatus, Timestamp, WorkerId};
use crate::testing::sim::trace::number;
use std::time::Duration;

impl Ledger {
    /// A claim was answered.
    pub(in crate::testing::sim) fn claimed(
        &mut self,
        want: &ClaimRequest,
        claimed: &[Claimed],
        now: Timestamp,
    ) -> Law {
        law!(
            claimed.len() <= want.limit,
            "I-16: {} jobs were asked for and {} given",
            want.limit,
            claimed.len()
        );
        for Claimed { lease, job, .. } in claimed {
            let n = number(lease.job);
            let known = self.job_mut(lease.job)?;
            law!(
                matches!(known.status, JobStatus::Pending | JobStatus::Queued),
                "I-16: job {n} was claimed and is {}",
                known.status
            );
            law!(
                lease.fence.0 > known.fence,
                "I-4: job {n} was claimed with fence {} after {}",
                lease.fence.0,
                known.fence
            );
            known.snapshot_fits(job)?;
            known.status = JobStatus::Running;
            known.fence = lease.fence.0;
            known.seq = 0;
            known.owner = Some(want.worker);
            known.lease_end = Some(now + want.ttl);
            let name = known.document.name.clone();
            let limit = known.document.concurrency.map(|terms| terms.limit as usize);
            let beside = self
                .jobs
                .values()
                .filter(|other| other.status == JobStatus::Running && other.document.name == name);
            let running = beside.count();
            law!(
                limit.is_none_or(|limit| running <= limit),
                "I-15: {running} jobs of pipeline {name} run and {} may",
                limit.unwrap_or_default()
            );
        }
        Ok(())
    }

    /// A heartbeat was answered.
    pub(in crate::testing::sim) fn renewed(
        &mut self,
        worker: WorkerId,
        lease: LeaseRef,
        state: LeaseState,
        ttl: Duration,
        now: Timestamp,
    ) -> Law {
        let n = number(lease.job);
        let job = self.job_mut(lease.job)?;
        let holds = job.status == JobStatus::Running
            && job.fence == lease.fence.0
            && job.owner == Some(worker);
        let expected = match (holds, job.cancel_asked) {
            (false, _) => LeaseState::Lost,
            (true, None) => LeaseState::Held,
            (true, Some(_)) => LeaseState::Cancel,
        };
        law!(
            state == expected,
            "I-4: the lease of job {n} under fence {} was told as {state:?}, and it is {expected:?}",
            lease.fence.0
        );
        if holds {
            job.lease_end = Some(now + ttl);
        }
        Ok(())
    }

    /// A cancellation was answered.
    pub(in crate::testing::sim) fn cancelled(
        &mut self,
        id: JobId,
        answer: JobStatus,
        now: Timestamp,
    ) -> Law {
        let job = self.job_mut(id)?;
        let expected = match job.status {
            JobStatus::Pending | JobStatus::Queued => {
                job.cancel_asked.get_or_insert(now);
                job.end_open_rows();
                job.status = JobStatus::Cancelled;
                job.status
            }
            JobStatus::Running => {
                job.cancel_asked.get_or_insert(now);
                JobStatus::Running
            }
            ended => ended,
        };
        law!(
            answer == expected,
            "I-9: job {} is {expected} after it was cancelled, and was told as {answer}",
            number(id)
        );
        Ok(())
    }

    /// The reaper took a job from its owner.
    pub(in crate::testing::sim) fn reaped(&mut self, id: JobId, now: Timestamp) -> Law {
        let n = number(id);
        let job = self.job_mut(id)?;
        law!(
            job.status == JobStatus::Running,
            "I-3: job {n} was reaped and is {}",
            job.status
        );
        let left = job.lease_end.map(|end| end.since(now)).unwrap_or_default();
        law!(
            left.is_zero(),
            "I-4: job {n} was taken from its owner {} ms before its lease ran out",
            left.as_millis()
        );
        job.lease_end = None;
        if job.cancel_asked.is_some() {
            job.end_open_rows();
            job.status = JobStatus::Cancelled;
        } else {
            job.status = JobStatus::Pending;
            job.waiting_since = now;
        }
        Ok(())
    }

    /// The dispatcher marked a job; answers whether that moved it.
    pub(in crate::testing::sim) fn dispatched(&mut self, id: JobId) -> bool {
        let pending = self
            .jobs
            .get_mut(&id)
            .filter(|job| job.status == JobStatus::Pending);
        pending.map(|job| job.status = JobStatus::Queued).is_some()
    }
}

impl Job {
    /// The next owner gets what the last one committed, and nothing else.
    fn snapshot_fits(&self, job: &JobSnapshot) -> Law {
        let n = number(job.id);
        let rows = self.rows.values();
        let begun = rows.filter(|row| row.status != StepStatus::Pending).count();
        law!(
            job.steps.len() == begun,
            "I-5: {begun} steps of job {n} have begun, and its next owner is told of {}",
            job.steps.len()
        );
        for step in &job.steps {
            let row = self.row(step.key)?;
            law!(
                (row.status, row.attempt, row.lost, row.returned, row.due)
                    == (
                        step.status,
                        step.attempt,
                        step.lost,
                        step.returned,
                        step.due_at
                    )
                    && row.items == step.items.as_ref().map(|items| items.len() as u32),
                "I-5: the next owner of job {n} is told that step {} is {} (attempt {}, {} lost); it is {} (attempt {}, {} lost)",
                step.key,
                step.status,
                step.attempt,
                step.lost,
                row.status,
                row.attempt,
                row.lost
            );
            law!(
                row.output == step.output,
                "I-5: the next owner of job {n} is told another output of step {}",
                step.key
            );
            law!(
                row.checkpoint == step.checkpoint,
                "I-14: the next owner of job {n} is told checkpoint {:?} of step {}; it is {:?}",
                step.checkpoint,
                step.key,
                row.checkpoint
            );
        }
        law!(
            job.cancel_requested.is_some() == self.cancel_asked.is_some(),
            "I-9: the next owner of job {n} is not told that its end was asked for"
        );
        Ok(())
    }
}
