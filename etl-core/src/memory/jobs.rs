//! The execution protocol.

use std::time::Duration;

use async_trait::async_trait;

use super::row::{JobRow, Misfit};
use super::{MemoryStore, State};
use crate::contract::store::{
    ClaimRequest, Claimed, JobStore, LeaseState, ReapRequest, Result, StoreError, StoreErrorKind,
    Submitted, audited, way,
};
use crate::model::{
    Commit, Fence, Hint, JobId, JobStatus, LeaseRef, NewJob, Timestamp, TriggerType, Verdict,
    WorkerId,
};

#[async_trait]
impl JobStore for MemoryStore {
    async fn submit(&self, job: NewJob) -> Result<Submitted> {
        self.change(job, State::submit)
    }

    async fn waiting(&self, older_than: Duration, limit: usize) -> Result<Vec<Hint>> {
        let (state, now) = self.lock();
        let until = now - older_than;
        Ok(state
            .outbox
            .iter()
            .filter(|(_, _, job)| state.jobs[job].waiting_since <= until)
            .take(limit)
            .map(|(priority, _, job)| Hint {
                job: *job,
                priority: priority.0,
            })
            .collect())
    }

    async fn dispatched(&self, jobs: &[JobId]) -> Result<()> {
        let (mut state, now) = self.lock();
        for job in jobs {
            if state.status(*job) == Some(JobStatus::Pending) {
                state.job_moves(*job, JobStatus::Pending, JobStatus::Queued, now);
            }
        }
        Ok(())
    }

    async fn claim(&self, want: ClaimRequest) -> Result<Vec<Claimed>> {
        let (mut state, now) = self.lock();
        let mut claimed = Vec::new();
        if let Some(jobs) = &want.jobs {
            let mut places: Vec<_> = jobs
                .iter()
                .filter_map(|job| state.jobs.get(job))
                .map(JobRow::place)
                .collect();
            places.sort_unstable();
            for (_, _, job) in places {
                if claimed.len() < want.limit && state.is_claimable(job, &want) {
                    claimed.extend(state.claim(job, &want, now));
                }
            }
        } else if !want.tags.is_empty() {
            for (_, _, job) in state.line.open_places() {
                if claimed.len() < want.limit && state.is_claimable(job, &want) {
                    claimed.extend(state.claim(job, &want, now));
                }
            }
        } else {
            while claimed.len() < want.limit
                && let Some(job) = state.line.first()
            {
                claimed.extend(state.claim(job, &want, now));
            }
        }
        Ok(claimed)
    }

    async fn renew(
        &self,
        worker: WorkerId,
        leases: &[LeaseRef],
        ttl: Duration,
    ) -> Result<Vec<LeaseState>> {
        let (mut state, now) = self.lock();
        let renewed = leases.iter().map(|lease| {
            let Some(job) = state.jobs.get(&lease.job).filter(|job| {
                job.status == JobStatus::Running
                    && job.fence == lease.fence
                    && job.worker == Some(worker)
            }) else {
                return LeaseState::Lost;
            };
            let answer = if job.cancel_requested.is_some() {
                LeaseState::Cancel
            } else {
                LeaseState::Held
            };
            state.lease(lease.job, now + ttl);
            answer
        });
        Ok(renewed.collect())
    }

    async fn commit(&self, batch: &[Commit]) -> Result<Vec<Verdict>> {
        let (mut state, now) = self.lock();
        state.commit(batch, now)
    }

    async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus> {
        let (mut state, now) = self.lock();
        let status = state.cancel(job, reason, now)?;
        state.note(|| audited::job_cancelled(job, reason, status), now);
        Ok(status)
    }

    async fn reap(&self, want: ReapRequest) -> Result<Vec<JobId>> {
        let (mut state, now) = self.lock();
        let expired: Vec<JobId> = match want.job {
            Some(job) => state
                .jobs
                .get(&job)
                .filter(|row| row.lease_expires_at.is_some_and(|end| end <= now))
                .map(|row| row.id)
                .into_iter()
                .take(want.limit)
                .collect(),
            None => state
                .leases
                .iter()
                .take_while(|(end, _)| *end <= now)
                .take(want.limit)
                .map(|(_, job)| *job)
                .collect(),
        };
        for job in &expired {
            if state.jobs[job].cancel_requested.is_some() {
                state.end(*job, JobStatus::Running, now);
            } else {
                state.job_moves(*job, JobStatus::Running, JobStatus::Pending, now);
                if let Some(row) = state.jobs.get_mut(job) {
                    row.tell_move(JobStatus::Pending, now);
                }
            }
        }
        Ok(expired)
    }
}

impl State {
    fn status(&self, job: JobId) -> Option<JobStatus> {
        self.jobs.get(&job).map(|row| row.status)
    }

    pub(super) fn submit(&mut self, new: NewJob, now: Timestamp) -> Result<Submitted> {
        let pipeline = self
            .pipelines
            .version(new.pipeline.id, new.pipeline.version);
        if pipeline.is_none() {
            return Err(StoreError::new("submit", StoreErrorKind::NotFound));
        }
        let known = new.idempotency_key.as_ref();
        let known = known.and_then(|key| self.keys.get(key)).unwrap_or(&new.id);
        if let Some(known) = self.jobs.get(known) {
            let same = (known.pipeline.id, known.pipeline.version)
                == (new.pipeline.id, new.pipeline.version)
                && *known.parameters == new.parameters;
            return Ok(if same {
                Submitted::Existing(known.id)
            } else {
                Submitted::KeyTaken(known.id)
            });
        }
        let id = new.id;
        let key = new.idempotency_key.clone();
        let gives_way = way::is_made_for(&new).then(|| way::make(&new, &self.on_their_way(&new)));
        let job = JobRow::new(new, now).map_err(|Misfit(key)| {
            StoreError::new("submit", StoreErrorKind::Illegal)
                .because(format!("step {key} can't be taken over"))
        })?;
        self.keys.extend(key.map(|key| (key, id)));
        if let Some(repeated) = job.retry_of {
            self.repeated.entry(repeated).or_default().insert(id);
        }
        self.history.insert((now, id));
        self.outbox.insert(job.place());
        self.line.join(job.pipeline.id, job.limit, job.place());
        self.open
            .entry(job.pipeline.id)
            .or_default()
            .insert((now, id));
        self.jobs.insert(id, job);
        for (job, reason) in gives_way.into_iter().flatten() {
            self.cancel(job, &reason, now)?;
        }
        Ok(Submitted::New(id))
    }

    /// The jobs of a new one's pipeline that wait or run and whose end nobody asked for, oldest first, without those of
    /// backfills.
    fn on_their_way(&self, new: &NewJob) -> Vec<JobId> {
        let open = self.open.get(&new.pipeline.id).into_iter().flatten();
        open.map(|(_, job)| &self.jobs[job])
            .filter(|job| job.cancel_requested.is_none())
            .filter(|job| job.trigger_type != TriggerType::Backfill)
            .map(|job| job.id)
            .collect()
    }

    fn cancel(&mut self, job: JobId, reason: &str, now: Timestamp) -> Result<JobStatus> {
        let Some(row) = self.jobs.get_mut(&job) else {
            return Err(StoreError::new("cancel", StoreErrorKind::NotFound));
        };
        let from = row.status;
        if from.is_terminal() {
            return Ok(from);
        }
        row.cancel_requested.get_or_insert_with(|| reason.into());
        if from == JobStatus::Running {
            return Ok(from);
        }
        self.end(job, from, now);
        Ok(JobStatus::Cancelled)
    }

    fn is_claimable(&self, job: JobId, want: &ClaimRequest) -> bool {
        self.jobs.get(&job).is_some_and(|row| {
            matches!(row.status, JobStatus::Pending | JobStatus::Queued)
                && want.wants(&row.document.tags)
                && self.line.is_open(row.pipeline.id, row.limit)
        })
    }

    fn claim(&mut self, id: JobId, want: &ClaimRequest, now: Timestamp) -> Option<Claimed> {
        let from = self.status(id)?;
        self.job_moves(id, from, JobStatus::Running, now);
        let expires_at = now + want.ttl;
        self.lease(id, expires_at);
        let job = self.jobs.get_mut(&id)?;
        job.fence = Fence(job.fence.0 + 1);
        job.seq = 0;
        job.worker = Some(want.worker);
        job.started_at.get_or_insert(now);
        job.tell_move(JobStatus::Running, now);
        Some(Claimed {
            lease: LeaseRef {
                job: id,
                fence: job.fence,
            },
            expires_at,
            job: job.snapshot(),
        })
    }

    /// Ends a job that is `from` as `cancelled`, with every open step.
    pub(super) fn end(&mut self, id: JobId, from: JobStatus, now: Timestamp) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.completed_at = Some(now);
            job.end_steps(now);
            job.tell_move(JobStatus::Cancelled, now);
        }
        self.job_moves(id, from, JobStatus::Cancelled, now);
    }
}
