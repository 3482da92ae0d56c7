//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use etl_core::model::{JobId, JobStatus};

/// Runs data pipelines: declared in YAML, durable from the first run, with nothing to install.
#[derive(Debug, Parser)]
#[command(
    name = "etl",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit status: 0 success; 1 the job failed; 2 the input is wrong; 3 a needed system can't be \
                        reached; 130 cancelled.\nConfiguration: flags, then ETL_… in the environment, then etl.toml, \
                        then defaults: everything under ./.etl/."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can also be said by the environment and by `etl.toml`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct SettingArgs {
    /// Where jobs are remembered [default: sqlite://.etl/etl.db]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Where artifacts go [default: file://.etl/data]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) storage_url: Option<String>,
    /// How the program's own log is written to standard error
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How the program's own log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one job of a pipeline to its end, in this process
    ///
    /// Shows the steps live on a terminal and one line for each event otherwise, and a summary at the end. Everything is
    /// remembered: a run that was killed goes on with `etl retry ID`.
    Run(RunArgs),
    /// Check pipeline files: every fault with its place and a hint
    Validate(ValidateArgs),
    /// List the connectors, or show one with its JSON Schemas
    Connectors(ConnectorsArgs),
    /// List jobs, newest first
    Jobs(JobsArgs),
    /// Show one job with its steps
    Job(JobArgs),
    /// Show the log of a job
    Logs(LogsArgs),
    /// Run a job again: go on with one that was interrupted, or repeat one that has ended
    Retry(RetryArgs),
    /// Ask for the end of a job
    Cancel(CancelArgs),
    /// Write a completion script for a shell to standard output
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// A pipeline file (YAML or JSON), or the name of a pipeline that ran before
    #[arg(value_name = "FILE|NAME")]
    pub(crate) pipeline: String,
    /// A parameter; the value is read as JSON where the parameter's schema asks for something other than text
    #[arg(short = 'p', long = "param", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) parameters: Vec<(String, String)>,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// How many steps run at once
    #[arg(long, value_name = "N", default_value_t = default_parallelism(), value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallelism: u16,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ValidateArgs {
    /// Pipeline files (YAML or JSON)
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Print the faults as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConnectorsArgs {
    /// Show this one with its JSON Schemas
    pub(crate) name: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct JobsArgs {
    /// Only jobs in this state; may be repeated
    #[arg(long, value_parser = status)]
    pub(crate) status: Vec<JobStatus>,
    /// Only jobs of this pipeline
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) limit: u16,
    /// Go on where the last list ended
    #[arg(long)]
    pub(crate) cursor: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct JobArgs {
    /// The job's id
    pub(crate) id: JobId,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// The job's id
    pub(crate) id: JobId,
    /// Go on until the job has ended
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RetryArgs {
    /// The job's id
    pub(crate) id: JobId,
    /// Take over the results of the steps that succeeded
    #[arg(long)]
    pub(crate) from_failed: bool,
    /// Print the outcome as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// How many steps run at once
    #[arg(long, value_name = "N", default_value_t = default_parallelism(), value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallelism: u16,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CancelArgs {
    /// The job's id
    pub(crate) id: JobId,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("{text:?} is not of the form key=value")),
    }
}

fn status(text: &str) -> Result<JobStatus, String> {
    text.parse().map_err(|_| {
        let known: Vec<&str> = JobStatus::ALL
            .iter()
            .map(|status| status.as_str())
            .collect();
        format!("known are {}", known.join(", "))
    })
}

fn default_parallelism() -> u16 {
    std::thread::available_parallelism().map_or(4, |cores| {
        u16::try_from(cores.get()).unwrap_or(u16::MAX).max(4)
    })
}
