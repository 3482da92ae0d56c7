//! What readers ask goes over the same line.

use std::time::Duration;

use async_trait::async_trait;

use super::{Line, SimStore, bent};
use crate::contract::store::{
    Catalog, CredentialStore, CredentialWrite, Due, Figures, Fire, Fired, HookStore, Journal,
    PipelineFilter, PutCredential, PutPipeline, Reseal, Result, RetentionStore, ScheduleStore,
    SealedCredential, SettledHook, StoredPipeline, WaitingHook,
};
use crate::model::{
    CredentialId, DeadLetter, FireRecord, HookRow, JobFigures, JobFilter, JobId, JobRecord,
    LogLine, Page, PageRequest, PipelineId, PipelineRef, Schedule, StepFigures, StepRecord,
    Timestamp,
};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Catalog for SimStore {
    async fn put_pipeline(&self, put: PutPipeline) -> Result<PipelineRef> {
        self.call("put_pipeline", self.sim.memory.put_pipeline(put))
            .await
    }

    async fn pipeline(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u64>,
    ) -> Result<Option<StoredPipeline>> {
        let read = self.sim.memory.pipeline(namespace, name, version);
        self.call("pipeline", read).await
    }

    async fn pipeline_version(
        &self,
        id: PipelineId,
        version: u64,
    ) -> Result<Option<StoredPipeline>> {
        let read = self.sim.memory.pipeline_version(id, version);
        self.call("pipeline_version", read).await
    }

    async fn pipeline_by_id(&self, id: PipelineId) -> Result<Option<StoredPipeline>> {
        self.call("pipeline_by_id", self.sim.memory.pipeline_by_id(id))
            .await
    }

    async fn pipelines(
        &self,
        filter: &PipelineFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredPipeline>> {
        self.call("pipelines", self.sim.memory.pipelines(filter, page))
            .await
    }

    async fn remove_pipeline(&self, namespace: &str, name: &str) -> Result<bool> {
        let call = self.sim.memory.remove_pipeline(namespace, name);
        self.call("remove_pipeline", call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl HookStore for SimStore {
    async fn waiting_hooks(&self, limit: usize) -> Result<Vec<WaitingHook>> {
        self.call("waiting_hooks", bent::waiting_hooks(&self.sim, limit))
            .await
    }

    async fn settle_hook(&self, settled: SettledHook) -> Result<()> {
        self.call("settle_hook", async {
            self.sim.memory.settle_hook(settled.clone()).await?;
            self.note(Line::Settled(settled.job, settled.position));
            let law = self.sim.lock().ledger.settled(&settled);
            self.sim.require(law);
            Ok(())
        })
        .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RetentionStore for SimStore {
    async fn expired_jobs(&self, older_than: Duration, page: &PageRequest) -> Result<Page<JobId>> {
        let read = self.sim.memory.expired_jobs(older_than, page);
        self.call("expired_jobs", read).await
    }

    async fn forget_jobs(&self, jobs: &[JobId]) -> Result<u64> {
        self.call("forget_jobs", self.sim.memory.forget_jobs(jobs))
            .await
    }

    async fn unarchived_logs(&self, older_than: Duration, limit: usize) -> Result<Vec<JobId>> {
        let read = self.sim.memory.unarchived_logs(older_than, limit);
        self.call("unarchived_logs", read).await
    }

    async fn log_archived(&self, job: JobId, error: Option<&str>) -> Result<()> {
        self.call("log_archived", self.sim.memory.log_archived(job, error))
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ScheduleStore for SimStore {
    async fn due(&self, limit: usize) -> Result<Due> {
        self.call("due", self.sim.memory.due(limit)).await
    }

    async fn fire(&self, fire: Fire) -> Result<Fired> {
        self.call("fire", self.sim.memory.fire(fire)).await
    }

    async fn pause(&self, schedule: PipelineId) -> Result<()> {
        self.call("pause", self.sim.memory.pause(schedule)).await
    }

    async fn resume(&self, schedule: PipelineId) -> Result<()> {
        self.call("resume", self.sim.memory.resume(schedule)).await
    }

    async fn schedule(&self, schedule: PipelineId) -> Result<Option<Schedule>> {
        self.call("schedule", self.sim.memory.schedule(schedule))
            .await
    }

    async fn schedules(&self, page: &PageRequest) -> Result<Page<Schedule>> {
        self.call("schedules", self.sim.memory.schedules(page))
            .await
    }

    async fn fires(&self, schedule: PipelineId, limit: usize) -> Result<Vec<FireRecord>> {
        self.call("fires", self.sim.memory.fires(schedule, limit))
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl CredentialStore for SimStore {
    async fn put_credential(&self, put: PutCredential) -> Result<CredentialWrite> {
        self.call("put_credential", self.sim.memory.put_credential(put))
            .await
    }

    async fn reseal_credential(&self, reseal: Reseal) -> Result<CredentialWrite> {
        self.call(
            "reseal_credential",
            self.sim.memory.reseal_credential(reseal),
        )
        .await
    }

    async fn remove_credential(&self, namespace: &str, name: &str) -> Result<bool> {
        let call = self.sim.memory.remove_credential(namespace, name);
        self.call("remove_credential", call).await
    }

    async fn credential(&self, namespace: &str, name: &str) -> Result<Option<SealedCredential>> {
        self.call("credential", self.sim.memory.credential(namespace, name))
            .await
    }

    async fn credential_by_id(&self, id: CredentialId) -> Result<Option<SealedCredential>> {
        let call = self.sim.memory.credential_by_id(id);
        self.call("credential_by_id", call).await
    }

    async fn credentials(&self, page: &PageRequest) -> Result<Page<SealedCredential>> {
        self.call("credentials", self.sim.memory.credentials(page))
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Journal for SimStore {
    async fn append(&self, lines: &[LogLine]) -> Result<()> {
        self.call("append", self.sim.memory.append(lines)).await
    }

    async fn lines(&self, job: JobId, after_seq: u64, limit: usize) -> Result<Vec<LogLine>> {
        self.call("lines", self.sim.memory.lines(job, after_seq, limit))
            .await
    }

    async fn job(&self, job: JobId) -> Result<Option<JobRecord>> {
        self.call("job", self.sim.memory.job(job)).await
    }

    async fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobRecord>> {
        self.call("jobs", self.sim.memory.jobs(filter, page)).await
    }

    async fn steps(&self, job: JobId, page: &PageRequest) -> Result<Page<StepRecord>> {
        self.call("steps", self.sim.memory.steps(job, page)).await
    }

    async fn dead_letters(&self, job: JobId) -> Result<Vec<DeadLetter>> {
        self.call("dead_letters", self.sim.memory.dead_letters(job))
            .await
    }

    async fn hooks(&self, job: JobId) -> Result<Vec<HookRow>> {
        self.call("hooks", self.sim.memory.hooks(job)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Figures for SimStore {
    async fn backlog(&self, most: u64) -> Result<u64> {
        self.call("backlog", self.sim.memory.backlog(most)).await
    }

    async fn job_figures(
        &self,
        pipeline: Option<PipelineId>,
        from: Timestamp,
    ) -> Result<JobFigures> {
        let call = self.sim.memory.job_figures(pipeline, from);
        self.call("job_figures", call).await
    }

    async fn step_figures(&self, connector: &str, from: Timestamp) -> Result<StepFigures> {
        let call = self.sim.memory.step_figures(connector, from);
        self.call("step_figures", call).await
    }
}
