//! The memory store with a bug between it and the caller.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::Bug;
use crate::contract::Clock;
use crate::contract::store::{
    Catalog, ClaimRequest, Claimed, CredentialStore, CredentialWrite, Due, Figures, Fire,
    FireOutcome, Fired, HookStore, JobStore, Journal, LeaseState, PipelineFilter, PutCredential,
    PutPipeline, ReapRequest, Reseal, Result, RetentionStore, ScheduleStore, SealedCredential,
    SettledHook, StoreErrorKind, StoredPipeline, Submitted, WaitingHook,
};
use crate::memory::MemoryStore;
use crate::model::{
    Change, Commit, CredentialId, DeadLetter, Fence, FireRecord, Hint, HookRow, JobFigures,
    JobFilter, JobId, JobRecord, JobStatus, LeaseRef, LogLine, NewJob, OnLimit, Page, PageRequest,
    PipelineId, PipelineRef, Schedule, StepFigures, StepRecord, Timestamp, Verdict, WorkerId,
};

#[derive(Debug)]
pub(super) struct Planted {
    bug: Bug,
    inner: MemoryStore,
    clock: Arc<Hasty>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The jobs whose end was asked for, for `CancelRevives`.
    asked: Vec<JobId>,
    /// What was claimed last, for `HandedOutTwice`.
    last: Option<Claimed>,
    /// The commits taken under each lease, for `SeqUnchecked`.
    taken: HashMap<LeaseRef, u64>,
}

/// A clock that can run a year ahead for a while.
#[derive(Debug)]
struct Hasty {
    clock: Arc<dyn Clock>,
    ahead: AtomicBool,
}

impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        let year = Duration::from_hours(365 * 24);
        let ahead = self.ahead.load(Ordering::SeqCst);
        self.clock.now() + if ahead { year } else { Duration::ZERO }
    }
}

impl Planted {
    pub(super) fn new(bug: Bug, clock: Arc<dyn Clock>) -> Self {
        let clock = Arc::new(Hasty {
            clock,
            ahead: AtomicBool::new(false),
        });
        Self {
            bug,
            inner: MemoryStore::new(clock.clone()),
            clock,
            state: Mutex::default(),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    /// The commit as the bug lets it through.
    async fn bend(&self, mut commit: Commit) -> Commit {
        let unguarded = self.has(Bug::FenceUnchecked)
            || (self.has(Bug::SameFence) && commit.lease.fence == Fence(1));
        if unguarded && let Ok(Some(job)) = self.inner.job(commit.lease.job).await {
            commit.lease.fence = job.fence;
        }
        if self.has(Bug::SeqUnchecked) {
            let taken = &self.state.lock().unwrap().taken;
            commit.seq = taken.get(&commit.lease).copied().unwrap_or(0) + 1;
        }
        if self.has(Bug::LinesForgotten) {
            commit.lines.clear();
        }
        if self.has(Bug::LinesWithoutCommit) {
            let lines = std::mem::take(&mut commit.lines).into_iter();
            let job_id = commit.lease.job;
            let lines: Vec<_> = lines.map(|line| LogLine { job_id, ..line }).collect();
            let _ = self.inner.append(&lines).await;
        }
        commit.changes.retain(|change| match change {
            Change::Checkpoint { .. } => !self.has(Bug::CheckpointForgotten),
            Change::Bury(_) => !self.has(Bug::LetterForgotten),
            Change::Hook(_) => !self.has(Bug::HookForgotten),
            _ => true,
        });
        commit
    }
}

#[async_trait]
impl JobStore for Planted {
    async fn submit(&self, mut job: NewJob) -> Result<Submitted> {
        if self.has(Bug::KeyForgotten) {
            job.idempotency_key = None;
        }
        if self.has(Bug::MaxActiveForgotten) {
            job.max_active = None;
        }
        if self.has(Bug::OnLimitForgotten)
            && let Some(terms) = &mut Arc::make_mut(&mut job.document).concurrency
        {
            terms.on_limit = OnLimit::Queue;
        }
        if self.has(Bug::LatestVersion) {
            let PipelineRef { id, version, .. } = job.pipeline;
            let mut next = version;
            while let Some(later) = self.inner.pipeline_version(id, next).await? {
                job.pipeline = later.reference;
                job.document = later.document;
                next += 1;
            }
        }
        self.inner.submit(job).await
    }

    async fn waiting(&self, older_than: Duration, limit: usize) -> Result<Vec<Hint>> {
        let at_once = self.has(Bug::AgeIgnored);
        let older_than = if at_once { Duration::ZERO } else { older_than };
        self.inner.waiting(older_than, limit).await
    }

    async fn dispatched(&self, jobs: &[JobId]) -> Result<()> {
        self.inner.dispatched(jobs).await
    }

    async fn claim(&self, want: ClaimRequest) -> Result<Vec<Claimed>> {
        let mut claimed = self.inner.claim(want.clone()).await?;
        if self.has(Bug::HandedOutTwice) {
            let mut state = self.state.lock().unwrap();
            if claimed.is_empty() && want.limit > 0 {
                claimed.extend(state.last.take());
            } else {
                state.last = claimed.last().cloned();
            }
        }
        if self.has(Bug::SameFence) {
            for claimed in &mut claimed {
                claimed.lease.fence = Fence(1);
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
        let mut states = self.inner.renew(worker, leases, ttl).await?;
        let asked = &self.state.lock().unwrap().asked;
        for (state, lease) in states.iter_mut().zip(leases) {
            *state = match *state {
                LeaseState::Lost if self.has(Bug::LostIsHeld) => LeaseState::Held,
                LeaseState::Cancel if self.has(Bug::CancelNotTold) => LeaseState::Held,
                LeaseState::Held if asked.contains(&lease.job) => LeaseState::Cancel,
                as_it_is => as_it_is,
            };
        }
        Ok(states)
    }

    async fn commit(&self, batch: &[Commit]) -> Result<Vec<Verdict>> {
        let mut bent = Vec::new();
        for commit in batch {
            bent.push(self.bend(commit.clone()).await);
        }
        let mut verdicts = Vec::new();
        let apart = [Bug::OneByOne, Bug::LostStopsTheBatch, Bug::SeqUnchecked];
        if apart.contains(&self.bug) {
            let mut lost = None;
            for commit in bent {
                let verdict = match lost {
                    Some(verdict) if self.has(Bug::LostStopsTheBatch) => verdict,
                    _ => self.inner.commit(std::slice::from_ref(&commit)).await?[0],
                };
                if let Verdict::Lost { .. } = verdict {
                    lost = Some(verdict);
                }
                if verdict == Verdict::Applied {
                    let taken = &mut self.state.lock().unwrap().taken;
                    taken.insert(commit.lease, commit.seq);
                }
                verdicts.push(verdict);
            }
        } else {
            let answer = self.inner.commit(&bent).await;
            verdicts = match answer {
                Err(fault)
                    if self.has(Bug::IllegalIsLost) && fault.kind == StoreErrorKind::Illegal =>
                {
                    let now = JobStatus::Running;
                    vec![Verdict::Lost { now }; batch.len()]
                }
                answer => answer?,
            };
        }
        if self.has(Bug::TerminalOverwritten) {
            for verdict in &mut verdicts {
                if matches!(verdict, Verdict::Lost { now } if now.is_terminal()) {
                    *verdict = Verdict::Applied;
                }
            }
        }
        Ok(verdicts)
    }

    async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus> {
        if self.has(Bug::CancelRevives)
            && let Some(record) = self.inner.job(job).await?
            && record.status == JobStatus::Running
        {
            self.state.lock().unwrap().asked.push(job);
            return Ok(JobStatus::Running);
        }
        self.inner.cancel(job, reason).await
    }

    async fn reap(&self, mut want: ReapRequest) -> Result<Vec<JobId>> {
        if self.has(Bug::ReapIgnoresLimit) {
            want.limit = usize::MAX;
        }
        let ahead = self.has(Bug::ReapIgnoresExpiry);
        self.clock.ahead.store(ahead, Ordering::SeqCst);
        let reaped = self.inner.reap(want).await;
        self.clock.ahead.store(false, Ordering::SeqCst);
        reaped
    }
}

#[async_trait]
impl Catalog for Planted {
    async fn put_pipeline(&self, mut put: PutPipeline) -> Result<PipelineRef> {
        if self.has(Bug::StaleWriterWins) {
            put.expected_version = None;
        }
        if self.has(Bug::LimitForgotten) {
            Arc::make_mut(&mut put.document).concurrency = None;
        }
        self.inner.put_pipeline(put).await
    }

    async fn pipeline(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u64>,
    ) -> Result<Option<StoredPipeline>> {
        self.inner.pipeline(namespace, name, version).await
    }

    async fn pipeline_version(
        &self,
        id: PipelineId,
        version: u64,
    ) -> Result<Option<StoredPipeline>> {
        self.inner.pipeline_version(id, version).await
    }

    async fn pipeline_by_id(&self, id: PipelineId) -> Result<Option<StoredPipeline>> {
        self.inner.pipeline_by_id(id).await
    }

    async fn pipelines(
        &self,
        filter: &PipelineFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredPipeline>> {
        self.inner.pipelines(filter, page).await
    }

    async fn remove_pipeline(&self, namespace: &str, name: &str) -> Result<bool> {
        self.inner.remove_pipeline(namespace, name).await
    }
}

#[async_trait]
impl HookStore for Planted {
    async fn waiting_hooks(&self, limit: usize) -> Result<Vec<WaitingHook>> {
        self.inner.waiting_hooks(limit).await
    }

    async fn settle_hook(&self, settled: SettledHook) -> Result<()> {
        if self.has(Bug::HookUnsettled) {
            return Ok(());
        }
        self.inner.settle_hook(settled).await
    }
}

#[async_trait]
impl RetentionStore for Planted {
    async fn expired_jobs(&self, older_than: Duration, page: &PageRequest) -> Result<Page<JobId>> {
        self.inner.expired_jobs(older_than, page).await
    }

    async fn forget_jobs(&self, jobs: &[JobId]) -> Result<u64> {
        for &job in jobs.iter().filter(|_| self.has(Bug::ForgottenTooSoon)) {
            for hook in self.inner.hooks(job).await? {
                let settled = SettledHook {
                    job,
                    position: hook.position,
                    error: None,
                };
                self.inner.settle_hook(settled).await?;
            }
        }
        self.inner.forget_jobs(jobs).await
    }

    async fn unarchived_logs(&self, older_than: Duration, limit: usize) -> Result<Vec<JobId>> {
        self.inner.unarchived_logs(older_than, limit).await
    }

    async fn log_archived(&self, job: JobId, error: Option<&str>) -> Result<()> {
        self.inner.log_archived(job, error).await
    }
}

#[async_trait]
impl ScheduleStore for Planted {
    async fn due(&self, limit: usize) -> Result<Due> {
        self.inner.due(limit).await
    }

    async fn fire(&self, mut fire: Fire) -> Result<Fired> {
        if self.has(Bug::RevUnchecked)
            && let Some(schedule) = self.inner.schedule(fire.schedule).await?
        {
            fire.rev = schedule.rev;
        }
        if self.has(Bug::FireForgotten)
            && let FireOutcome::Job(job) = fire.outcome
        {
            self.inner.submit(*job).await?;
            return Ok(Fired::Fired);
        }
        self.inner.fire(fire).await
    }

    async fn pause(&self, schedule: PipelineId) -> Result<()> {
        self.inner.pause(schedule).await
    }

    async fn resume(&self, schedule: PipelineId) -> Result<()> {
        self.inner.resume(schedule).await
    }

    async fn schedule(&self, schedule: PipelineId) -> Result<Option<Schedule>> {
        self.inner.schedule(schedule).await
    }

    async fn schedules(&self, page: &PageRequest) -> Result<Page<Schedule>> {
        self.inner.schedules(page).await
    }

    async fn fires(&self, schedule: PipelineId, limit: usize) -> Result<Vec<FireRecord>> {
        self.inner.fires(schedule, limit).await
    }
}

#[async_trait]
impl CredentialStore for Planted {
    async fn put_credential(&self, put: PutCredential) -> Result<CredentialWrite> {
        self.inner.put_credential(put).await
    }

    async fn reseal_credential(&self, mut reseal: Reseal) -> Result<CredentialWrite> {
        if self.has(Bug::ResealUnchecked) {
            let all = self.inner.credentials(&PageRequest::first(500)).await?;
            let now = all.items.iter().find(|now| now.id == reseal.id);
            reseal.version = now.map_or(reseal.version, |now| now.version + 1);
        }
        self.inner.reseal_credential(reseal).await
    }

    async fn remove_credential(&self, namespace: &str, name: &str) -> Result<bool> {
        self.inner.remove_credential(namespace, name).await
    }

    async fn credential(&self, namespace: &str, name: &str) -> Result<Option<SealedCredential>> {
        self.inner.credential(namespace, name).await
    }

    async fn credential_by_id(&self, id: CredentialId) -> Result<Option<SealedCredential>> {
        self.inner.credential_by_id(id).await
    }

    async fn credentials(&self, page: &PageRequest) -> Result<Page<SealedCredential>> {
        self.inner.credentials(page).await
    }
}

#[async_trait]
impl Journal for Planted {
    async fn append(&self, lines: &[LogLine]) -> Result<()> {
        self.inner.append(lines).await
    }

    async fn lines(&self, job: JobId, after_seq: u64, limit: usize) -> Result<Vec<LogLine>> {
        let back = u64::from(self.has(Bug::LinesRepeat));
        let after = after_seq.saturating_sub(back);
        self.inner.lines(job, after, limit).await
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>> {
        self.inner.job(job).await
    }

    async fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobRecord>> {
        self.inner.jobs(filter, page).await
    }

    async fn steps(&self, job: JobId, page: &PageRequest) -> Result<Page<StepRecord>> {
        let mut steps = self.inner.steps(job, page).await?;
        if self.has(Bug::PageIsAll) {
            steps.next_cursor = None;
        }
        Ok(steps)
    }

    async fn dead_letters(&self, job: JobId) -> Result<Vec<DeadLetter>> {
        self.inner.dead_letters(job).await
    }

    async fn hooks(&self, job: JobId) -> Result<Vec<HookRow>> {
        self.inner.hooks(job).await
    }
}

#[async_trait]
impl Figures for Planted {
    async fn backlog(&self, most: u64) -> Result<u64> {
        self.inner.backlog(most).await
    }

    async fn job_figures(
        &self,
        pipeline: Option<PipelineId>,
        from: Timestamp,
    ) -> Result<JobFigures> {
        self.inner.job_figures(pipeline, from).await
    }

    async fn step_figures(&self, connector: &str, from: Timestamp) -> Result<StepFigures> {
        self.inner.step_figures(connector, from).await
    }
}
