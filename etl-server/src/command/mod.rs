//! The commands, a file each.

mod apply;
mod artifacts;
mod audit;
mod backfill;
mod cancel;
mod connectors;
mod credential;
mod doctor;
mod interrupts;
mod job;
mod jobs;
mod keys;
mod leftover;
mod logs;
mod retry;
mod run;
mod schedules;
mod serve;
mod submit;
mod until_end;
mod user;
mod validate;
mod wanted;

use std::sync::Arc;

use clap::CommandFactory;
use etl_core::contract::store::{Catalog, Journal, StoredPipeline};
use etl_core::contract::{StoreError, acting};
use etl_core::model::{Actor, JobId, JobRecord, PageRequest, StepRecord};

use crate::args::{Args, Command};
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::telemetry;
use crate::view::print;

/// Carries out what the command line says.
pub(crate) fn execute(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "etl", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            return Ok(Exit::Success);
        }
        Command::Openapi => {
            print(crate::api::openapi::text())?;
            return Ok(Exit::Success);
        }
        Command::Validate(validate) => return validate::execute(&validate),
        Command::Connectors(connectors) => return connectors::execute(&connectors),
        _ => {}
    }
    let config = Config::load(&args.settings)?;
    // What others ask a server for is their doing.
    let is_service = matches!(args.command, Command::Serve(_));
    let by_default = match args.command {
        Command::Serve(_) => "warn,etl=info",
        _ => "warn",
    };
    telemetry::start(config.log_format, by_default);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Exit::Unreachable, "the program can't start its threads").because(error)
        })?;
    let carried_out = async {
        match args.command {
            Command::Run(run) => run::execute(&config, run).await,
            Command::Serve(serve) => serve::execute(&config, &serve).await,
            Command::Submit(submit) => submit::execute(&config, &submit).await,
            Command::Migrate => {
                deployment::migrate(&config).await?.close().await;
                print("the store's tables are up to date\n")?;
                Ok(Exit::Success)
            }
            Command::Jobs(jobs) => jobs::execute(&config, jobs).await,
            Command::Job(job) => job::execute(&config, &job).await,
            Command::Artifacts(artifacts) => artifacts::execute(&config, &artifacts).await,
            Command::Logs(logs) => logs::execute(&config, &logs).await,
            Command::Retry(retry) => retry::execute(&config, &retry).await,
            Command::Cancel(cancel) => cancel::execute(&config, &cancel).await,
            Command::Apply(apply) => apply::execute(&config, &apply).await,
            Command::Schedules(schedules) => schedules::execute(&config, &schedules).await,
            Command::Backfill(backfill) => backfill::execute(&config, &backfill).await,
            Command::Credential(credential) => credential::execute(&config, &credential).await,
            Command::Keys(keys) => keys::execute(&config, &keys).await,
            Command::Audit(audit) => audit::execute(&config, &audit).await,
            Command::User(user) => user::execute(&config, &user).await,
            Command::Doctor(doctor) => doctor::execute(&config, &doctor).await,
            Command::Completions { .. }
            | Command::Openapi
            | Command::Validate(_)
            | Command::Connectors(_) => Ok(Exit::Success),
        }
    };
    let exit = if is_service {
        runtime.block_on(carried_out)
    } else {
        runtime.block_on(acting(Arc::new(on_command_line()), carried_out))
    };
    // A connector's blocking thread that does not heed its cancellation must not keep the program.
    runtime.shutdown_background();
    exit
}

/// Who works on the command line, for the audit log.
fn on_command_line() -> Actor {
    Actor {
        name: "cli".into(),
        ..Actor::default()
    }
}

/// The job of this id, or the failure that says that there is none.
async fn job_of(journal: &(impl Journal + ?Sized), id: JobId) -> Result<JobRecord, Failure> {
    let job = journal.job(id).await?;
    job.ok_or_else(|| Failure::input(format!("there is no job {id}")).hint("`etl jobs` lists them"))
}

/// Every step execution of a job.
async fn steps_of(
    journal: &(impl Journal + ?Sized),
    job: JobId,
) -> Result<Vec<StepRecord>, StoreError> {
    let mut steps = Vec::new();
    let mut request = PageRequest::first(500);
    loop {
        let page = journal.steps(job, &request).await?;
        steps.extend(page.items);
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return Ok(steps),
        }
    }
}

/// The current version of a stored pipeline by its name, `NAMESPACE/NAME` outside the namespace `default`.
async fn pipeline_of(
    catalog: &(impl Catalog + ?Sized),
    name: &str,
) -> Result<StoredPipeline, Failure> {
    let (namespace, bare) = name.split_once('/').unwrap_or(("default", name));
    let found = catalog.pipeline(namespace, bare, None).await?;
    found.ok_or_else(|| {
        Failure::input(format!("there is no stored pipeline {name:?}"))
            .hint("`etl apply DIR` stores those of a folder; `etl schedules` lists schedules")
    })
}
