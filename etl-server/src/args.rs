//! The command line.

pub(crate) mod audit;
pub(crate) mod user;
pub(crate) mod vault;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use etl_core::artifact::Lifetime;
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
                        reached; 130 cancelled.\nConfiguration: flags, then ETL_… in the environment, then etl.toml in \
                        the working folder, then defaults: everything under ./.etl/. Keys: database_url, queue_url, \
                        events_url, storage_url, bind, master_key_file, otlp_endpoint, log_format.\n\nTo begin: \
                        etl run FILE, then etl jobs."
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
    /// remembered: a run that was killed goes on with `etl retry ID`. Ctrl-C cancels the job; a second one leaves at once.
    ///
    /// With `--json` standard output is one document: {"job_id", "pipeline", "status", "duration_ms", "rows_processed",
    /// "bytes_transferred", "error_message", "steps"}. If no job came of it, the document is that of `etl validate` for a
    /// faulty file, and {"errors": [{"file", "line", "column", "pointer", "message", "hint"}]} for anything else.
    #[command(after_help = "Examples:
  etl run examples/pipelines/flights.yaml
  etl run monthly.yaml -p month=2024-01 -p 'funds=[\"A\", \"B\"]'
  etl run monthly -p month=2024-02        a pipeline that ran before, by its name
  etl run monthly.yaml --json | jq .status")]
    Run(RunArgs),
    /// Run the deployment: workers, schedulers and the API, in one process or many
    ///
    /// Without a role it does everything. Jobs come from `etl submit`, from schedules, and from dead workers. SIGTERM or
    /// Ctrl-C: takes no more, lets jobs under way end for `drain_seconds`, gives the rest back; once more gives back at once.
    /// `/health` and `/ready` are answered at `bind`.
    #[command(after_help = "Examples:
  etl serve
  etl serve --database-url postgres://etl@db/etl --role worker --role scheduler
  curl -s localhost:8000/ready")]
    Serve(ServeArgs),
    /// Hand a job to the deployment and print its id
    ///
    /// The deployment is the one whose store `database_url` names. With `--wait` it is followed to its end, with the output and
    /// the exit statuses of `etl run`.
    #[command(after_help = "Examples:
  etl submit monthly -p month=2024-01
  etl submit monthly.yaml --wait --json | jq .status")]
    Submit(SubmitArgs),
    /// Prove that everything works and that no row waits for nobody
    ///
    /// Checks the store, its clock against this machine's, the queue, the events and the storage by using them, and tells of each job, step,
    /// schedule and hook that has not come to its end who has it, until when, and what moves it on. Nothing is changed.
    ///
    /// Exit status: 0 all is well; 1 something waits for nobody; 3 a system can't be used. With `--json`: {"ok", "checks":
    /// [{"name", "ok", "message", "hint"}], "rows": [{"kind", "id", "pipeline", "status", "owner", "deadline", "rule", "problem",
    /// "hint"}]}.
    #[command(after_help = "Examples:
  etl doctor
  etl doctor --all
  etl doctor --json | jq '.rows[] | select(.problem)'")]
    Doctor(DoctorArgs),
    /// Bring the store's tables up to this version
    ///
    /// Any command that opens the store does the same; this one does nothing else, before a new version starts, say.
    Migrate,
    /// Check pipeline files: every fault with its place and a hint
    ///
    /// Checks the text, the names, the graph, the templates and each step's configuration, and tells all faults at once.
    /// Nothing is run or written. With `--json`: {"valid", "errors": [{"file", "line", "column", "pointer", "message",
    /// "hint"}]}.
    #[command(after_help = "Examples:
  etl validate pipelines/*.yaml
  etl validate monthly.yaml --json | jq -r '.errors[].message'")]
    Validate(ValidateArgs),
    /// List the connectors, or show one with its JSON Schemas
    #[command(after_help = "Examples:
  etl connectors
  etl connectors copy
  etl connectors copy --json | jq .config_schema")]
    Connectors(ConnectorsArgs),
    /// List jobs, newest first
    ///
    /// With `--json`: {"items", "next_cursor"}; a cursor that is not null is where the list goes on.
    #[command(after_help = "Examples:
  etl jobs --status failed --status timeout
  etl jobs --pipeline flights --limit 1 --json | jq -r '.items[0].id'")]
    Jobs(JobsArgs),
    /// Show one job with its steps
    #[command(after_help = "Example:
  etl job 0199c2f4-5b5e-7d31-9a52-0d4f6f1f6f10 --json | jq '.steps[] | {name, status}'")]
    Job(JobArgs),
    /// Show the log of a job
    ///
    /// What its steps said, in order. With `--json` one object a line.
    #[command(after_help = "Example:
  etl logs -f 0199c2f4-5b5e-7d31-9a52-0d4f6f1f6f10")]
    Logs(LogsArgs),
    /// List what the steps of a job left as artifacts
    ///
    /// With `--url` also a URL for each file, by which whoever has it reads the file for a time, without credentials: hand it on
    /// like a password. Only an S3 storage has such URLs. With `--json`: {"items": [{"step", "item_index", "name", "uri",
    /// "files": [{"path", "url", "expires_at"}]}], "next_cursor"}; `path` is empty unless the artifact is a folder.
    #[command(after_help = "Examples:
  etl artifacts 0199c2f4-5b5e-7d31-9a52-0d4f6f1f6f10
  etl artifacts --url --expires 600 --json 0199c2f4-5b5e-7d31-9a52-0d4f6f1f6f10 | jq -r '.items[].files[].url'")]
    Artifacts(ArtifactsArgs),
    /// Run a job again: go on with one that was interrupted, or repeat one that has ended
    ///
    /// A job whose process is gone (killed, power) goes on under its own id, and no step that succeeded runs again. A job
    /// that has ended stays as it is: a new job of the same pipeline version and parameters is made, whose `retry_of` names
    /// it, and with `--from-failed` it takes over the results of the steps that succeeded. Output and exit status are those
    /// of `etl run`. On a deployment's store its workers run the job, and this process watches it.
    #[command(after_help = "Examples:
  etl retry 0199c2f4-5b5e-7d31-9a52-0d4f6f1f6f10
  etl retry --from-failed 0199c2f4-5b5e-7d31-9a52-0d4f6f1f6f10")]
    Retry(RetryArgs),
    /// Ask for the end of a job
    ///
    /// Also of one that another process runs: that process stops the steps, usually within a second. One that waits is
    /// cancelled at once, and one that has ended is left alone.
    #[command(after_help = "Example:
  etl cancel 0199c2f4-5b5e-7d31-9a52-0d4f6f1f6f10")]
    Cancel(CancelArgs),
    /// Make the stored pipelines and schedules equal to a folder of pipeline files
    ///
    /// Every file is checked first: if one has a fault nothing is changed, all faults are told, and the status is 2. Then
    /// it says of each pipeline whether it is created, changed or the same. A pipeline that is stored and has no file is
    /// left alone and named; with `--prune` it is removed, its jobs and versions stay. A business calendar of your own is a
    /// file calendars/NAME.txt in the folder: a line for each day, `2026-12-24` and a name.
    ///
    /// With `--json`: {"dry_run", "changes": [{"action", "namespace", "name", "version", "file", "next_fire_at"}]}.
    #[command(after_help = "Examples:
  etl apply pipelines --dry-run
  etl apply pipelines --prune")]
    Apply(ApplyArgs),
    /// Show schedules and what they will fire, pause them and let them fire again
    ///
    /// Without a name all schedules, with one its next fires: when, and which days are moved or left out and why. With
    /// `--json`: {"items", "next_cursor"}, or one object with its "preview" and its last "fires".
    #[command(after_help = "Examples:
  etl schedules
  etl schedules fidc-monthly --next 20
  etl schedules fidc-monthly --pause")]
    Schedules(SchedulesArgs),
    /// Make a job for every fire of a schedule in a stretch of time, and run them here to their end
    ///
    /// Both ends are included. All jobs are accepted at once; they run within the pipeline's `concurrency`, or at most N at
    /// a time. A fire makes one job for each version of the pipeline: the same command again goes on with those that did
    /// not reach their end and makes none twice. Times are RFC 3339, or local in the pipeline's zone: a day
    /// (2024-01-31, whole) or a time (2024-01-31T06:00).
    ///
    /// With `--json`: {"pipeline", "from", "to", "jobs": [{"id", "scheduled_for", "is_new", "status"}]}.
    #[command(after_help = "Examples:
  etl backfill fidc-monthly --from 2024-01-01 --to 2024-12-31 --max-active 2
  etl backfill fidc-monthly --from 2024-01-01 --to 2024-12-31 --dry-run")]
    Backfill(BackfillArgs),
    /// Store, list and remove credentials
    #[command(after_help = "Example:
  etl credential set warehouse < warehouse.json")]
    Credential(vault::CredentialArgs),
    /// Change the keys that credentials are sealed with
    #[command(after_help = "Example:
  etl keys rotate")]
    Keys(vault::KeysArgs),
    /// Print the description of the REST API (OpenAPI 3.1) as JSON
    #[command(after_help = "Example:
  etl openapi | jq -r '.paths | keys[]'")]
    Openapi,
    /// Make users who may sign in to the API
    #[command(after_help = "Example:
  etl user create ana@example.org --role admin")]
    User(user::UserArgs),
    /// Look after the audit log
    #[command(after_help = "Example:
  etl audit verify")]
    Audit(audit::AuditArgs),
    /// Write a completion script for a shell to standard output
    #[command(after_help = "Example:
  etl completions bash > ~/.local/share/bash-completion/completions/etl")]
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether standard output is one JSON document and nothing else. The lines of `logs` are not one.
    pub(crate) fn answers_in_json(&self) -> bool {
        match self {
            Self::Run(args) => args.json,
            Self::Validate(args) => args.json,
            Self::Connectors(args) => args.json,
            Self::Jobs(args) => args.json,
            Self::Job(args) => args.json,
            Self::Artifacts(args) => args.json,
            Self::Retry(args) => args.json,
            Self::Cancel(args) => args.json,
            Self::Apply(args) => args.json,
            Self::Schedules(args) => args.json,
            Self::Backfill(args) => args.json,
            Self::Submit(args) => args.json,
            Self::Credential(args) => match &args.action {
                vault::CredentialAction::Set(args) => args.json,
                vault::CredentialAction::List(args) => args.json,
                vault::CredentialAction::Remove(args) => args.json,
            },
            Self::Keys(args) => match &args.action {
                vault::KeysAction::Rotate(args) => args.json,
            },
            Self::Audit(args) => match &args.action {
                audit::AuditAction::Verify(args) => args.json,
            },
            Self::User(args) => match &args.action {
                user::UserAction::Create(args) => args.json,
            },
            Self::Doctor(args) => args.json,
            Self::Openapi => true,
            Self::Serve(_) | Self::Migrate | Self::Logs(_) | Self::Completions { .. } => false,
        }
    }
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

/// What a process of a deployment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Everything.
    All,
    /// Answers requests.
    Api,
    /// Runs jobs.
    Worker,
    /// Fires schedules, hands out what waits, takes jobs from dead workers.
    Scheduler,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// What this process does; may be repeated [default: all]
    #[arg(long = "role", value_enum, value_name = "ROLE")]
    pub(crate) roles: Vec<Role>,
    /// Take only jobs of pipelines that have this tag; may be repeated [default: any; also `tags`, ETL_TAGS]
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SubmitArgs {
    /// A pipeline file (YAML or JSON), or the name of a stored pipeline
    #[arg(value_name = "FILE|NAME")]
    pub(crate) pipeline: String,
    /// A parameter; the value is read as JSON where the parameter's schema asks for something other than text
    #[arg(short = 'p', long = "param", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) parameters: Vec<(String, String)>,
    /// Used twice, it gives the same job
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Wait for the job's end
    #[arg(long)]
    pub(crate) wait: bool,
    /// Print the job, or with `--wait` its outcome, as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Show every open row, not only those with a problem
    #[arg(long)]
    pub(crate) all: bool,
    /// Print what was found as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
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
pub(crate) struct ArtifactsArgs {
    /// The job's id
    pub(crate) id: JobId,
    /// Give URLs to read them by
    #[arg(long)]
    pub(crate) url: bool,
    /// How long the URLs are good for: 1 to 604800 (seven days)
    #[arg(long, value_name = "SECONDS", default_value = "3600", requires = "url", value_parser = lifetime)]
    pub(crate) expires: Lifetime,
    /// Print as JSON
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

#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// The folder; files in folders below it count too
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Remove pipelines that have no file
    #[arg(long)]
    pub(crate) prune: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print what was done as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SchedulesArgs {
    /// Show the next fires of this pipeline; NAMESPACE/NAME outside the namespace `default`
    pub(crate) name: Option<String>,
    /// How many fires to show
    #[arg(long, value_name = "N", default_value_t = 10, requires = "name", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) next: u16,
    /// Let it fire nothing until it is resumed
    #[arg(long, requires = "name", conflicts_with = "resume")]
    pub(crate) pause: bool,
    /// Let it fire again, from now on
    #[arg(long, requires = "name")]
    pub(crate) resume: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BackfillArgs {
    /// The pipeline; NAMESPACE/NAME outside the namespace `default`
    pub(crate) name: String,
    /// From this time on
    #[arg(long, value_name = "TIME")]
    pub(crate) from: String,
    /// Up to this time, it included
    #[arg(long, value_name = "TIME")]
    pub(crate) to: String,
    /// How many of the jobs run at once, if fewer than the pipeline allows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_active: Option<u32>,
    /// A parameter of each job; the value is read as JSON where its schema asks for something other than text
    #[arg(short = 'p', long = "param", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) parameters: Vec<(String, String)>,
    /// Say which jobs would be made, and make none
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only have the jobs accepted; whoever serves the database runs them
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) detach: bool,
    /// Print the jobs as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// How many steps run at once
    #[arg(long, value_name = "N", default_value_t = default_parallelism(), value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallelism: u16,
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

fn lifetime(text: &str) -> Result<Lifetime, String> {
    let seconds = text.parse().ok().and_then(Lifetime::from_seconds);
    seconds.ok_or_else(|| {
        let (shortest, longest) = (Lifetime::SHORTEST_SECONDS, Lifetime::LONGEST_SECONDS);
        format!("a whole number of seconds from {shortest} to {longest} is wanted")
    })
}

fn default_parallelism() -> u16 {
    std::thread::available_parallelism().map_or(4, |cores| {
        u16::try_from(cores.get()).unwrap_or(u16::MAX).max(4)
    })
}
