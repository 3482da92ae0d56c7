//! The life of the program: started in a group of its own, heard, and ended with all its children.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use etl_core::contract::{Progress, StepContext};
use etl_core::model::{ErrorClass, LogLevel, Report, StepError};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::credential::{self, CommandCredential, CredentialFile};
use super::lines::Lines;
use super::protocol::{self, Line, Outcome};
use super::verdict::{self, quoted};
use super::{CommandConfig, Protocol, artifact};

/// What a program gets of this process's environment. The rest may hold secrets.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How long the outputs may stay open after the program's end. What it wrote is in them already; a child that it left behind may
/// hold them for ever.
const LINGER: Duration = Duration::from_secs(2);
/// How much of the end of the standard output becomes `output.stdout`.
const KEPT_OUTPUT: usize = 64 * 1024;
/// How many of the last lines of standard error a failure quotes.
const QUOTED_LINES: usize = 10;

/// Runs the program to its end.
pub(super) async fn run(
    config: CommandConfig,
    credential: Option<CommandCredential>,
    ctx: StepContext,
) -> Result<Report, StepError> {
    // It is there until the program and its children have ended.
    let file = credential.as_ref().map(CredentialFile::write).transpose()?;
    let folder = artifact::folder(&ctx)?;
    let input = match (&config.stdin, config.protocol) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Protocol::Text) => None,
        (None, Protocol::Jsonl) => {
            let folder = folder.as_ref().and_then(|folder| folder.to_str());
            let document =
                protocol::task_document(&ctx, &ctx.task().config, folder, credential.as_ref());
            Some(format!("{document}\n").into_bytes())
        }
    };
    let mut group = start(&config, file.as_ref(), &ctx)?;
    let stdin = group.child.stdin.take();
    // A program that does not read its input must not keep us: what it does not take is dropped with it.
    let feeding = tokio::spawn(async move {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            let _ = stdin.write_all(&input).await;
        }
    });
    let heard = listen(&mut group, &config, &ctx, folder.as_deref()).await;
    feeding.abort();
    drop(group);
    drop(file);
    heard
}

/// A program with everything that it started. Dropping it ends them all.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            // It may have ended by itself: then there is nobody to tell.
            let _ = killpg(id, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

fn start(
    config: &CommandConfig,
    file: Option<&CredentialFile>,
    ctx: &StepContext,
) -> Result<Group, StepError> {
    let [program, arguments @ ..] = &config.argv[..] else {
        return Err(StepError::permanent(
            "`argv` is empty: it begins with the program",
        ));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .kill_on_drop(true)
        .process_group(0);
    command.envs(
        INHERITED
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?))),
    );
    command.envs(&config.env);
    if let Some(file) = file {
        command.env(credential::VARIABLE, file.path());
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(folder) = working_folder(config.cwd.as_deref(), ctx)? {
        if !folder.is_dir() {
            return Err(StepError::permanent(format!(
                "the folder {} does not exist",
                folder.display()
            )));
        }
        command.current_dir(folder);
    }
    let child = command.spawn().map_err(|error| {
        let class = match error.kind() {
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::NotADirectory
            | std::io::ErrorKind::ArgumentListTooLong
            | std::io::ErrorKind::PermissionDenied
            | std::io::ErrorKind::InvalidInput => ErrorClass::Permanent,
            _ => ErrorClass::Transient,
        };
        StepError::new(
            class,
            format!("the program {program:?} can't be started: {error}"),
        )
        .because(error)
    })?;
    let id = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map(Pid::from_raw);
    Ok(Group { child, id })
}

fn working_folder(cwd: Option<&Path>, ctx: &StepContext) -> Result<Option<PathBuf>, StepError> {
    let base = ctx.task().base_dir.as_ref();
    let base = base.map(|base| Path::new(&*base.folder));
    match (cwd, base) {
        (Some(cwd), _) if cwd.is_absolute() => Ok(Some(cwd.into())),
        (Some(cwd), Some(base)) => Ok(Some(base.join(cwd))),
        (Some(cwd), None) => Err(StepError::permanent(format!(
            "the relative folder {} has no meaning here: only a pipeline that is run from a file has a folder",
            cwd.display()
        ))),
        (None, base) => Ok(base.map(Into::into)),
    }
}

/// What the program has said so far.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) outcome: Option<Outcome>,
    /// The end of what it wrote to standard output.
    pub(super) output: VecDeque<u8>,
    /// The last lines of standard error.
    pub(super) last_errors: VecDeque<String>,
}

async fn listen(
    group: &mut Group,
    config: &CommandConfig,
    ctx: &StepContext,
    folder: Option<&Path>,
) -> Result<Report, StepError> {
    let (Some(stdout), Some(stderr)) = (group.child.stdout.take(), group.child.stderr.take())
    else {
        return Err(StepError::transient("the program's output can't be read"));
    };
    let (mut stdout, mut stderr) = (Lines::new(stdout), Lines::new(stderr));
    let (mut stdout_open, mut stderr_open) = (true, true);
    let mut heard = Heard::default();
    let mut exit: Option<ExitStatus> = None;
    let mut kill_at: Option<Instant> = None;
    let mut deaf_at: Option<Instant> = None;
    let mut was_stopped = false;
    while exit.is_none() || stdout_open || stderr_open {
        let said = tokio::select! {
            line = stdout.next(), if stdout_open => {
                let line = line.map_err(unreadable)?;
                stdout_open = line.is_some();
                line.map(Said::Output)
            }
            line = stderr.next(), if stderr_open => {
                let line = line.map_err(unreadable)?;
                stderr_open = line.is_some();
                line.map(Said::Error)
            }
            status = group.child.wait(), if exit.is_none() => {
                exit = Some(status.map_err(unreadable)?);
                deaf_at = Some(Instant::now() + LINGER);
                None
            }
            () = ctx.cancelled().cancelled(), if kill_at.is_none() => {
                // What it left behind is not waited for.
                if exit.is_some() {
                    break;
                }
                was_stopped = true;
                group.signal(Signal::SIGTERM);
                kill_at = Some(Instant::now() + GRACE);
                None
            }
            () = until(kill_at), if kill_at.is_some() && exit.is_none() => {
                group.signal(Signal::SIGKILL);
                kill_at = Some(Instant::now() + GRACE);
                None
            }
            () = until(deaf_at), if deaf_at.is_some() => break,
        };
        let Some(said) = said else { continue };
        // Handing a line on waits while the listener is behind. A program that is told to stop may still say something, such as
        // a checkpoint, but it ends in time even if nobody listens.
        let stop = async {
            match kill_at {
                Some(_) => until(kill_at).await,
                None => ctx.cancelled().cancelled().await,
            }
        };
        let since = Instant::now();
        tokio::select! {
            biased;
            heard = hear(said, config, ctx, folder, &mut heard) => heard?,
            () = stop => {}
        }
        // It is the listener that was slow, not the program.
        deaf_at = deaf_at.map(|at| at + since.elapsed());
    }
    // Only a result says that a program which was told to stop had come to its end; an exit status doesn't.
    if was_stopped
        && !heard
            .outcome
            .as_ref()
            .is_some_and(|outcome| outcome.success)
    {
        return Err(StepError::transient("the program was stopped"));
    }
    let Some(exit) = exit else {
        return Err(StepError::transient("the program's end was not seen"));
    };
    verdict::of(exit, config.protocol, heard)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn unreadable(error: std::io::Error) -> StepError {
    StepError::transient("the program can't be listened to").because(error)
}

/// A line of one of its outputs.
enum Said {
    Output(String),
    Error(String),
}

async fn hear(
    said: Said,
    config: &CommandConfig,
    ctx: &StepContext,
    folder: Option<&Path>,
    heard: &mut Heard,
) -> Result<(), StepError> {
    let line = match said {
        Said::Output(line) => line,
        Said::Error(line) => {
            if heard.last_errors.len() == QUOTED_LINES {
                heard.last_errors.pop_front();
            }
            heard.last_errors.push_back(quoted(&line));
            ctx.warn(line).await;
            return Ok(());
        }
    };
    let said = match config.protocol {
        Protocol::Jsonl => protocol::parse(&line)?,
        Protocol::Text => None,
    };
    match said {
        None => {
            heard.output.extend(line.as_bytes());
            heard.output.push_back(b'\n');
            let over = heard.output.len().saturating_sub(KEPT_OUTPUT);
            heard.output.drain(..over);
            ctx.info(line).await;
        }
        Some(Line::Log {
            level,
            message,
            metadata,
        }) => {
            let level = level.parse().unwrap_or(LogLevel::Info);
            ctx.log(level, message, metadata).await;
        }
        Some(Line::Progress {
            progress,
            rows_processed,
            bytes_transferred,
            estimated_remaining,
        }) => {
            ctx.progress(Progress {
                percent: progress.map(|percent| percent.clamp(0.0, 100.0) as u8),
                rows_processed,
                bytes_transferred,
                estimated_remaining: estimated_remaining
                    .and_then(|left| Duration::try_from_secs_f64(left).ok()),
            });
        }
        Some(Line::Checkpoint { state }) => ctx.checkpoint(state).await,
        Some(Line::Metric { name, value }) => ctx.metric(name, value).await,
        Some(Line::Artifact { name, path }) => {
            let base = match folder {
                Some(folder) => Some(folder.to_path_buf()),
                None => working_folder(config.cwd.as_deref(), ctx)?,
            };
            artifact::publish(&name, &path, base.as_deref(), ctx).await?;
        }
        Some(Line::Result(outcome)) => heard.outcome = Some(outcome),
    }
    Ok(())
}
