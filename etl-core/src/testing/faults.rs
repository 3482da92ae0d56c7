//! A store that fails now and then, as stores do.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::contract::Store;
use crate::contract::store::{
    Catalog, ClaimRequest, Claimed, CredentialStore, CredentialWrite, Due, Figures, Fire, Fired,
    HookStore, JobStore, Journal, LeaseState, PipelineFilter, PutCredential, PutPipeline,
    ReapRequest, Reseal, Result, RetentionStore, ScheduleStore, SealedCredential, SettledHook,
    StoreError, StoreErrorKind, StoredPipeline, Submitted, WaitingHook,
};
use crate::model::{
    Commit, CredentialId, DeadLetter, FireRecord, Hint, HookRow, JobFigures, JobFilter, JobId,
    JobRecord, JobStatus, LeaseRef, LogLine, NewJob, Page, PageRequest, PipelineId, PipelineRef,
    Schedule, StepFigures, StepRecord, Timestamp, Verdict, WorkerId,
};

/// How one call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    None,
    /// It is refused as `Unavailable`, and nothing is done.
    Refused,
    /// It is done, and the answer is lost: `OutcomeUnknown`. A call that only reads is refused instead.
    Unknown,
    /// It is done, but only after so long.
    Slow(Duration),
}

/// A store whose calls go wrong by a plan. The same plan goes wrong in the same way.
#[derive(Debug)]
pub struct Flaky {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
    is_away: watch::Sender<bool>,
}

#[derive(Debug)]
enum Plan {
    Listed(VecDeque<Fault>),
    Random(u64),
}

impl Flaky {
    /// The first calls go wrong as listed, later ones don't.
    pub fn by_plan(inner: Arc<dyn Store>, plan: impl IntoIterator<Item = Fault>) -> Self {
        Self::new(inner, Plan::Listed(plan.into_iter().collect()))
    }

    /// About two calls in five go wrong, in an order that the seed gives.
    pub fn by_seed(inner: Arc<dyn Store>, seed: u64) -> Self {
        Self::new(inner, Plan::Random(seed))
    }

    fn new(inner: Arc<dyn Store>, plan: Plan) -> Self {
        Self {
            inner,
            plan: Mutex::new(plan),
            is_away: watch::Sender::new(false),
        }
    }

    /// From now on no call is answered, as over a line that has gone dead.
    pub fn go_away(&self) {
        self.is_away.send_replace(true);
    }

    /// Calls are answered again, also those that wait.
    pub fn come_back(&self) {
        self.is_away.send_replace(false);
    }

    async fn reached(&self) {
        let mut is_away = self.is_away.subscribe();
        // It fails only when the sender is gone, and that is ours.
        let _ = is_away.wait_for(|is_away| !is_away).await;
    }

    /// The store behind, which does not fail.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn fault(&self) -> Fault {
        match &mut *self.plan.lock().unwrap_or_else(PoisonError::into_inner) {
            Plan::Listed(faults) => faults.pop_front().unwrap_or(Fault::None),
            Plan::Random(state) => match split_mix(state) % 5 {
                0 => Fault::Refused,
                1 => Fault::Unknown,
                _ => Fault::None,
            },
        }
    }

    async fn write<T>(
        &self,
        op: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.reached().await;
        match self.fault() {
            Fault::None => call.await,
            Fault::Refused => Err(StoreError::new(op, StoreErrorKind::Unavailable)),
            Fault::Unknown => {
                call.await?;
                Err(StoreError::new(op, StoreErrorKind::OutcomeUnknown))
            }
            Fault::Slow(wait) => {
                tokio::time::sleep(wait).await;
                call.await
            }
        }
    }

    async fn read<T>(
        &self,
        op: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.reached().await;
        match self.fault() {
            Fault::None => call.await,
            Fault::Refused | Fault::Unknown => {
                Err(StoreError::new(op, StoreErrorKind::Unavailable))
            }
            Fault::Slow(wait) => {
                tokio::time::sleep(wait).await;
                call.await
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl JobStore for Flaky {
    async fn submit(&self, job: NewJob) -> Result<Submitted> {
        self.write("submit", self.inner.submit(job)).await
    }

    async fn waiting(&self, older_than: Duration, limit: usize) -> Result<Vec<Hint>> {
        self.read("waiting", self.inner.waiting(older_than, limit))
            .await
    }

    async fn dispatched(&self, jobs: &[JobId]) -> Result<()> {
        self.write("dispatched", self.inner.dispatched(jobs)).await
    }

    async fn claim(&self, want: ClaimRequest) -> Result<Vec<Claimed>> {
        self.write("claim", self.inner.claim(want)).await
    }

    async fn renew(
        &self,
        worker: WorkerId,
        leases: &[LeaseRef],
        ttl: Duration,
    ) -> Result<Vec<LeaseState>> {
        self.write("renew", self.inner.renew(worker, leases, ttl))
            .await
    }

    async fn commit(&self, batch: &[Commit]) -> Result<Vec<Verdict>> {
        self.write("commit", self.inner.commit(batch)).await
    }

    async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus> {
        self.write("cancel", self.inner.cancel(job, reason)).await
    }

    async fn reap(&self, want: ReapRequest) -> Result<Vec<JobId>> {
        self.write("reap", self.inner.reap(want)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Catalog for Flaky {
    async fn put_pipeline(&self, put: PutPipeline) -> Result<PipelineRef> {
        self.write("put_pipeline", self.inner.put_pipeline(put))
            .await
    }

    async fn pipeline(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u64>,
    ) -> Result<Option<StoredPipeline>> {
        self.read("pipeline", self.inner.pipeline(namespace, name, version))
            .await
    }

    async fn pipeline_version(
        &self,
        id: PipelineId,
        version: u64,
    ) -> Result<Option<StoredPipeline>> {
        let call = self.inner.pipeline_version(id, version);
        self.read("pipeline_version", call).await
    }

    async fn pipeline_by_id(&self, id: PipelineId) -> Result<Option<StoredPipeline>> {
        self.read("pipeline_by_id", self.inner.pipeline_by_id(id))
            .await
    }

    async fn pipelines(
        &self,
        filter: &PipelineFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredPipeline>> {
        self.read("pipelines", self.inner.pipelines(filter, page))
            .await
    }

    async fn remove_pipeline(&self, namespace: &str, name: &str) -> Result<bool> {
        let call = self.inner.remove_pipeline(namespace, name);
        self.write("remove_pipeline", call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl HookStore for Flaky {
    async fn waiting_hooks(&self, limit: usize) -> Result<Vec<WaitingHook>> {
        self.read("waiting_hooks", self.inner.waiting_hooks(limit))
            .await
    }

    async fn settle_hook(&self, settled: SettledHook) -> Result<()> {
        self.write("settle_hook", self.inner.settle_hook(settled))
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RetentionStore for Flaky {
    async fn expired_jobs(&self, older_than: Duration, page: &PageRequest) -> Result<Page<JobId>> {
        self.read("expired_jobs", self.inner.expired_jobs(older_than, page))
            .await
    }

    async fn forget_jobs(&self, jobs: &[JobId]) -> Result<u64> {
        self.write("forget_jobs", self.inner.forget_jobs(jobs))
            .await
    }

    async fn unarchived_logs(&self, older_than: Duration, limit: usize) -> Result<Vec<JobId>> {
        let call = self.inner.unarchived_logs(older_than, limit);
        self.read("unarchived_logs", call).await
    }

    async fn log_archived(&self, job: JobId, error: Option<&str>) -> Result<()> {
        self.write("log_archived", self.inner.log_archived(job, error))
            .await
    }
}

#[async_trait]
impl ScheduleStore for Flaky {
    async fn due(&self, limit: usize) -> Result<Due> {
        self.read("due", self.inner.due(limit)).await
    }

    async fn fire(&self, fire: Fire) -> Result<Fired> {
        self.write("fire", self.inner.fire(fire)).await
    }

    async fn pause(&self, schedule: PipelineId) -> Result<()> {
        self.write("pause", self.inner.pause(schedule)).await
    }

    async fn resume(&self, schedule: PipelineId) -> Result<()> {
        self.write("resume", self.inner.resume(schedule)).await
    }

    async fn schedule(&self, schedule: PipelineId) -> Result<Option<Schedule>> {
        self.read("schedule", self.inner.schedule(schedule)).await
    }

    async fn schedules(&self, page: &PageRequest) -> Result<Page<Schedule>> {
        self.read("schedules", self.inner.schedules(page)).await
    }

    async fn fires(&self, schedule: PipelineId, limit: usize) -> Result<Vec<FireRecord>> {
        self.read("fires", self.inner.fires(schedule, limit)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl CredentialStore for Flaky {
    async fn put_credential(&self, put: PutCredential) -> Result<CredentialWrite> {
        self.write("put_credential", self.inner.put_credential(put))
            .await
    }

    async fn reseal_credential(&self, reseal: Reseal) -> Result<CredentialWrite> {
        self.write("reseal_credential", self.inner.reseal_credential(reseal))
            .await
    }

    async fn remove_credential(&self, namespace: &str, name: &str) -> Result<bool> {
        let call = self.inner.remove_credential(namespace, name);
        self.write("remove_credential", call).await
    }

    async fn credential(&self, namespace: &str, name: &str) -> Result<Option<SealedCredential>> {
        self.read("credential", self.inner.credential(namespace, name))
            .await
    }

    async fn credential_by_id(&self, id: CredentialId) -> Result<Option<SealedCredential>> {
        let call = self.inner.credential_by_id(id);
        self.read("credential_by_id", call).await
    }

    async fn credentials(&self, page: &PageRequest) -> Result<Page<SealedCredential>> {
        self.read("credentials", self.inner.credentials(page)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Journal for Flaky {
    async fn append(&self, lines: &[LogLine]) -> Result<()> {
        self.write("append", self.inner.append(lines)).await
    }

    async fn lines(&self, job: JobId, after_seq: u64, limit: usize) -> Result<Vec<LogLine>> {
        self.read("lines", self.inner.lines(job, after_seq, limit))
            .await
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>> {
        self.read("job", self.inner.job(job)).await
    }

    async fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobRecord>> {
        self.read("jobs", self.inner.jobs(filter, page)).await
    }

    async fn steps(&self, job: JobId, page: &PageRequest) -> Result<Page<StepRecord>> {
        self.read("steps", self.inner.steps(job, page)).await
    }

    async fn dead_letters(&self, job: JobId) -> Result<Vec<DeadLetter>> {
        self.read("dead_letters", self.inner.dead_letters(job))
            .await
    }

    async fn hooks(&self, job: JobId) -> Result<Vec<HookRow>> {
        self.read("hooks", self.inner.hooks(job)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Figures for Flaky {
    async fn backlog(&self, most: u64) -> Result<u64> {
        self.read("backlog", self.inner.backlog(most)).await
    }

    async fn job_figures(
        &self,
        pipeline: Option<PipelineId>,
        from: Timestamp,
    ) -> Result<JobFigures> {
        let call = self.inner.job_figures(pipeline, from);
        self.read("job_figures", call).await
    }

    async fn step_figures(&self, connector: &str, from: Timestamp) -> Result<StepFigures> {
        let call = self.inner.step_figures(connector, from);
        self.read("step_figures", call).await
    }
}
