//! `etl retry`: goes on with an interrupted job under its own id, or repeats one that has ended.

use etl_core::contract::store::Catalog;
use etl_core::model::{By, JobStatus};
use etl_core::sdk::{Etl, RetryFrom, retry_trigger};

use super::interrupts::Interrupts;
use super::{job_of, leftover, submit, until_end};
use crate::args::RetryArgs;
use crate::config::Config;
use crate::deployment::{self, OpenStore, Workers};
use crate::failure::{Exit, Failure};
use crate::view::say;

pub(crate) async fn execute(config: &Config, args: &RetryArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let opening = deployment::run_remembered(config);
    let (store, workers) = interrupts.unless_interrupted(opening).await?;
    if workers == Workers::Elsewhere {
        let exit = hand_over(config, &store, args, &mut interrupts).await;
        store.close().await;
        return exit;
    }
    let etl = deployment::own_engine(config, &store, args.parallelism)
        .await?
        .build();
    let outcome = go_on(&etl, args, &mut interrupts).await;
    until_end::close(config, etl, store, &outcome, &mut interrupts).await;
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
        etl.retry(job.id, from(args), By("cli".into())).await?
    } else {
        etl.resume(job.id).await?
    };
    until_end::to_the_end(etl, handle, &pipeline, interrupts, args.json).await
}

/// Others run it, and this process only watches. What was interrupted they take up by themselves.
async fn hand_over(
    config: &Config,
    open: &OpenStore,
    args: &RetryArgs,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let store = open.store();
    let known = job_of(&**store, args.id).await?;
    let job = if known.status.is_terminal() {
        let (pipeline, trigger) =
            retry_trigger(&**store, known.id, from(args).into(), By("cli".into())).await?;
        let submitted = submit::accept(open, &pipeline, trigger).await?;
        say(&format!("job {} repeats {}", submitted.job(), known.id));
        submit::tell_workers(config, open, submitted, &pipeline).await;
        submitted.job()
    } else {
        say("it has not ended: whoever serves the database goes on with it by itself");
        known.id
    };
    let events = deployment::shared_events(config, open)?;
    submit::wait(&**store, events, job, args.json, interrupts).await
}

fn from(args: &RetryArgs) -> RetryFrom {
    if args.from_failed {
        RetryFrom::Failed
    } else {
        RetryFrom::Start
    }
}
