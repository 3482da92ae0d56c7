//! A store whose answers are timed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use etl_core::contract::Store;
use etl_core::contract::store::{
    Catalog, ClaimRequest, Claimed, CredentialStore, CredentialWrite, Due, Figures, Fire, Fired,
    HookStore, JobStore, Journal, LeaseState, PipelineFilter, PutCredential, PutPipeline,
    ReapRequest, Reseal, Result, RetentionStore, ScheduleStore, SealedCredential, SettledHook,
    StoredPipeline, Submitted, WaitingHook,
};
use etl_core::model::{
    Commit, CredentialId, DeadLetter, FireRecord, Hint, HookRow, JobFigures, JobFilter, JobId,
    JobRecord, JobStatus, LeaseRef, LogLine, NewJob, Page, PageRequest, PipelineId, PipelineRef,
    Schedule, StepFigures, StepRecord, Timestamp, Verdict, WorkerId,
};

use crate::metrics::Metrics;

/// A store that says of each of its operations how long it took: `etl_store_operation_seconds`. What is refused is timed too; what
/// is given up by the asker is not.
#[derive(Debug)]
pub struct Timed {
    inner: Arc<dyn Store>,
    metrics: Metrics,
}

impl Timed {
    /// This store, timed.
    pub fn new(inner: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }

    async fn time<T>(&self, operation: &'static str, call: impl Future<Output = T> + Send) -> T {
        let asked = Instant::now();
        let answer = call.await;
        self.metrics.store_operation(operation, asked.elapsed());
        answer
    }
}

/// An implementation whose every method is the inner store's, timed.
macro_rules! timed {
    ($role:ident { $($op:ident($($arg:ident: $type:ty),*) -> $answer:ty;)+ }) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl $role for Timed {
            $(async fn $op(&self, $($arg: $type),*) -> Result<$answer> {
                self.time(stringify!($op), self.inner.$op($($arg),*)).await
            })+
        }
    };
}

timed!(JobStore {
    submit(job: NewJob) -> Submitted;
    waiting(older_than: Duration, limit: usize) -> Vec<Hint>;
    dispatched(jobs: &[JobId]) -> ();
    claim(want: ClaimRequest) -> Vec<Claimed>;
    renew(worker: WorkerId, leases: &[LeaseRef], ttl: Duration) -> Vec<LeaseState>;
    commit(batch: &[Commit]) -> Vec<Verdict>;
    cancel(job: JobId, reason: &str) -> JobStatus;
    reap(want: ReapRequest) -> Vec<JobId>;
});

timed!(Catalog {
    put_pipeline(put: PutPipeline) -> PipelineRef;
    pipeline(namespace: &str, name: &str, version: Option<u64>) -> Option<StoredPipeline>;
    pipeline_version(id: PipelineId, version: u64) -> Option<StoredPipeline>;
    pipeline_by_id(id: PipelineId) -> Option<StoredPipeline>;
    pipelines(filter: &PipelineFilter, page: &PageRequest) -> Page<StoredPipeline>;
    remove_pipeline(namespace: &str, name: &str) -> bool;
});

timed!(ScheduleStore {
    due(limit: usize) -> Due;
    fire(fire: Fire) -> Fired;
    pause(schedule: PipelineId) -> ();
    resume(schedule: PipelineId) -> ();
    schedule(schedule: PipelineId) -> Option<Schedule>;
    schedules(page: &PageRequest) -> Page<Schedule>;
    fires(schedule: PipelineId, limit: usize) -> Vec<FireRecord>;
});

timed!(CredentialStore {
    put_credential(put: PutCredential) -> CredentialWrite;
    reseal_credential(reseal: Reseal) -> CredentialWrite;
    remove_credential(namespace: &str, name: &str) -> bool;
    credential(namespace: &str, name: &str) -> Option<SealedCredential>;
    credential_by_id(id: CredentialId) -> Option<SealedCredential>;
    credentials(page: &PageRequest) -> Page<SealedCredential>;
});

timed!(HookStore {
    waiting_hooks(limit: usize) -> Vec<WaitingHook>;
    settle_hook(settled: SettledHook) -> ();
});

timed!(RetentionStore {
    expired_jobs(older_than: Duration, page: &PageRequest) -> Page<JobId>;
    forget_jobs(jobs: &[JobId]) -> u64;
    unarchived_logs(older_than: Duration, limit: usize) -> Vec<JobId>;
    log_archived(job: JobId, error: Option<&str>) -> ();
});

timed!(Journal {
    append(lines: &[LogLine]) -> ();
    lines(job: JobId, after_seq: u64, limit: usize) -> Vec<LogLine>;
    job(job: JobId) -> Option<JobRecord>;
    jobs(filter: &JobFilter, page: &PageRequest) -> Page<JobRecord>;
    steps(job: JobId, page: &PageRequest) -> Page<StepRecord>;
    dead_letters(job: JobId) -> Vec<DeadLetter>;
    hooks(job: JobId) -> Vec<HookRow>;
});

timed!(Figures {
    backlog(most: u64) -> u64;
    job_figures(pipeline: Option<PipelineId>, from: Timestamp) -> JobFigures;
    step_figures(connector: &str, from: Timestamp) -> StepFigures;
});
