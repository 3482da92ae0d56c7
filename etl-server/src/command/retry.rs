//! `etl retry`: goes on with an interrupted job under its own id, or repeats one that has ended.

use etl_core::contract::store::Catalog;
use etl_core::model::{By, JobStatus};
use etl_core::sdk::{Etl, RetryFrom};

use super::interrupts::Interrupts;
use super::{job_of, leftover, until_end};
use crate::args::RetryArgs;
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};

pub(crate) async fn execute(config: &Config, args: &RetryArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let store = deployment::serve_remembered(config).await?;
    let etl = deployment::own_engine(config, &store, args.parallelism).await?;
    let outcome = go_on(&etl, args, &mut interrupts).await;
    until_end::close(etl, store, &outcome).await;
    outcome
}

async fn go_on(etl: &Etl, args: &RetryArgs, interrupts: &mut Interrupts) -> Result<Exit, Failure> {
    let store = etl.store();
    let job = job_of(&**store, args.id).await?;
    let pipeline =
        Catalog::pipeline_version(&**store, job.pipeline_id, job.pipeline_version).await?;
    let pipeline = pipeline
        .ok_or_else(|| Failure::input(format!("the pipeline of job {} is gone", job.id)))?;
    if job.status != JobStatus::Running {
        leftover::refuse_if_full(&**store, &pipeline).await?;
    }
    let handle = if job.status.is_terminal() {
        let from = if args.from_failed {
            RetryFrom::Failed
        } else {
            RetryFrom::Start
        };
        etl.retry(job.id, from, By("cli".into())).await?
    } else {
        etl.resume(job.id).await?
    };
    until_end::to_the_end(etl, handle, &pipeline, interrupts, args.json).await
}
