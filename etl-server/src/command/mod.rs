//! The commands, a file each.

mod cancel;
mod connectors;
mod follow;
mod job;
mod jobs;
mod logs;
mod retry;
mod run;
mod validate;

use clap::CommandFactory;

use crate::args::{Args, Command};
use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::telemetry;

/// Carries out what the command line says.
pub(crate) fn execute(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "etl", &mut std::io::stdout());
            return Ok(Exit::Success);
        }
        Command::Validate(validate) => return Ok(validate::execute(&validate)),
        Command::Connectors(connectors) => return connectors::execute(&connectors),
        _ => {}
    }
    let config = Config::load(&args.settings)?;
    telemetry::start(config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Exit::Unreachable, "the program can't start its threads").because(error)
        })?;
    let exit = runtime.block_on(async {
        match args.command {
            Command::Run(run) => run::execute(&config, run).await,
            Command::Jobs(jobs) => jobs::execute(&config, jobs).await,
            Command::Job(job) => job::execute(&config, &job).await,
            Command::Logs(logs) => logs::execute(&config, &logs).await,
            Command::Retry(retry) => retry::execute(&config, &retry).await,
            Command::Cancel(cancel) => cancel::execute(&config, &cancel).await,
            Command::Completions { .. } | Command::Validate(_) | Command::Connectors(_) => {
                Ok(Exit::Success)
            }
        }
    });
    // A connector's blocking thread that does not heed its cancellation must not keep the program.
    runtime.shutdown_background();
    exit
}
