//! `etl retry`: goes on with an interrupted job under its own id, or repeats one that has ended.

use etl_core::contract::store::{Catalog, Journal};
use etl_core::model::By;
use etl_core::sdk::RetryFrom;

use super::follow;
use crate::args::RetryArgs;
use crate::config::Config;
use crate::embedded;
use crate::failure::{Exit, Failure};

pub(crate) async fn execute(config: &Config, args: &RetryArgs) -> Result<Exit, Failure> {
    let store = embedded::serve(config).await?;
    let etl = embedded::engine(config, store.clone(), args.parallelism)?;
    let exit = go_on(&etl, args).await;
    etl.shutdown().await;
    store.close().await;
    exit
}

async fn go_on(etl: &etl_core::sdk::Etl, args: &RetryArgs) -> Result<Exit, Failure> {
    let store = etl.store();
    let Some(job) = Journal::job(&**store, args.id).await? else {
        return Err(
            Failure::input(format!("there is no job {}", args.id)).hint("`etl jobs` lists them")
        );
    };
    let pipeline =
        Catalog::pipeline_version(&**store, job.pipeline_id, job.pipeline_version).await?;
    let pipeline = pipeline
        .ok_or_else(|| Failure::input(format!("the pipeline of job {} is gone", job.id)))?;
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
    follow::to_the_end(etl, handle, &pipeline, args.json).await
}
