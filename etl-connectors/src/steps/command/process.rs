//! The life of the program: started in a group of its own, heard, and ended with all its children.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use etl_core::contract::{Progress, StepContext};
use etl_core::model::{ArtifactName, ErrorClass, LogLevel, Report, StepError};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::lines::Lines;
use super::protocol::{self, Line, Outcome};
use super::{CommandConfig, Protocol};

/// What a program gets of this process's environment. The rest may hold secrets.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];
/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How much of the end of the standard output becomes `output.stdout`.
const KEPT_OUTPUT: usize = 64 * 1024;
/// How many of the last lines of standard error a failure quotes.
const QUOTED_LINES: usize = 10;

/// Runs the program to its end.
pub(super) async fn run(config: CommandConfig, ctx: StepContext) -> Result<Report, StepError> {
    let folder = output_folder(&ctx)?;
    let input = match (&config.stdin, config.protocol) {
        (Some(text), _) => Some(text.clone().into_bytes()),
        (None, Protocol::Text) => None,
        (None, Protocol::Jsonl) => {
            let folder = folder.as_ref().and_then(|folder| folder.to_str());
            let document = protocol::task_document(&ctx, &ctx.task().config, folder);
            Some(format!("{document}\n").into_bytes())
        }
    };
    let mut group = start(&config, &ctx)?;
    let stdin = group.child.stdin.take();
    // A program that does not read its input must not keep us: what it does not take is dropped with it.
    let feeding = tokio::spawn(async move {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            let _ = stdin.write_all(&input).await;
        }
    });
    let heard = listen(&mut group, &config, &ctx, folder.as_deref()).await;
    feeding.abort();
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

fn start(config: &CommandConfig, ctx: &StepContext) -> Result<Group, StepError> {
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
    let base = ctx.task().base_dir.as_deref().map(Path::new);
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

/// The folder that the program may write artifacts to, made for it; `None` where artifacts are not on this machine.
fn output_folder(ctx: &StepContext) -> Result<Option<PathBuf>, StepError> {
    let name = ArtifactName::new("x")
        .map_err(|error| StepError::permanent("no artifact folder").because(error))?;
    let Some(path) = ctx.artifacts().local_path(&name) else {
        return Ok(None);
    };
    let Some(folder) = path.parent() else {
        return Ok(None);
    };
    std::fs::create_dir_all(folder).map_err(|error| {
        StepError::transient("the folder for artifacts can't be made").because(error)
    })?;
    Ok(Some(folder.into()))
}

/// What the program has said so far.
#[derive(Default)]
struct Heard {
    outcome: Option<Outcome>,
    output: VecDeque<u8>,
    last_errors: VecDeque<String>,
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
    let mut kill_at: Option<tokio::time::Instant> = None;
    // Output may still be in the pipe after the exit; a child that was left behind may hold the pipe open for ever.
    let mut deaf_at: Option<tokio::time::Instant> = None;
    while exit.is_none() || stdout_open || stderr_open {
        tokio::select! {
            line = stdout.next(), if stdout_open => match line.map_err(unreadable)? {
                Some(line) => hear(line, config.protocol, ctx, folder, &mut heard).await?,
                None => stdout_open = false,
            },
            line = stderr.next(), if stderr_open => match line.map_err(unreadable)? {
                Some(line) => {
                    ctx.warn(line.clone()).await;
                    if heard.last_errors.len() == QUOTED_LINES {
                        heard.last_errors.pop_front();
                    }
                    heard.last_errors.push_back(line);
                }
                None => stderr_open = false,
            },
            status = group.child.wait(), if exit.is_none() => {
                exit = Some(status.map_err(unreadable)?);
                deaf_at = Some(tokio::time::Instant::now() + GRACE);
            }
            () = ctx.cancelled().cancelled(), if kill_at.is_none() && exit.is_none() => {
                group.signal(Signal::SIGTERM);
                kill_at = Some(tokio::time::Instant::now() + GRACE);
            }
            () = until(kill_at), if kill_at.is_some() && exit.is_none() => {
                group.signal(Signal::SIGKILL);
                kill_at = Some(tokio::time::Instant::now() + GRACE);
            }
            () = until(deaf_at), if deaf_at.is_some() => break,
        }
    }
    if ctx.cancelled().is_cancelled() {
        return Err(StepError::transient("the program was stopped"));
    }
    let Some(exit) = exit else {
        return Err(StepError::transient("the program's end was not seen"));
    };
    judge(exit, config, heard)
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn unreadable(error: std::io::Error) -> StepError {
    StepError::transient("the program can't be listened to").because(error)
}

async fn hear(
    line: String,
    protocol: Protocol,
    ctx: &StepContext,
    folder: Option<&Path>,
    heard: &mut Heard,
) -> Result<(), StepError> {
    let said = match protocol {
        Protocol::Jsonl => protocol::parse(&line),
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
        Some(Line::Artifact { name, path }) => publish(&name, &path, ctx, folder).await?,
        Some(Line::Result(outcome)) => heard.outcome = Some(outcome),
    }
    Ok(())
}

/// Takes over a file that the program wrote: where it lies in the attempt's own folder already, it stays.
async fn publish(
    name: &str,
    path: &Path,
    ctx: &StepContext,
    folder: Option<&Path>,
) -> Result<(), StepError> {
    let name = ArtifactName::new(name).map_err(|error| StepError::permanent(error.to_string()))?;
    let path = match folder {
        Some(folder) if path.is_relative() => folder.join(path),
        _ => path.to_path_buf(),
    };
    let is_in_place = ctx.artifacts().local_path(&name).is_some_and(|place| {
        matches!((place.canonicalize(), path.canonicalize()), (Ok(place), Ok(path)) if place == path)
    });
    if !is_in_place {
        let unread = |error: std::io::Error| {
            StepError::permanent(format!("the artifact {} can't be read", path.display()))
                .because(error)
        };
        let mut file = tokio::fs::File::open(&path).await.map_err(unread)?;
        let store = ctx.artifacts().storage().store().clone();
        let mut writer =
            object_store::buffered::BufWriter::new(store, ctx.artifacts().location(&name));
        tokio::io::copy(&mut file, &mut writer)
            .await
            .map_err(|error| StepError::transient("the artifact can't be stored").because(error))?;
        writer
            .shutdown()
            .await
            .map_err(|error| StepError::transient("the artifact can't be stored").because(error))?;
    }
    ctx.publish(name).await;
    Ok(())
}

fn judge(exit: ExitStatus, config: &CommandConfig, heard: Heard) -> Result<Report, StepError> {
    let how = how_it_ended(exit);
    let quote = || {
        let lines: Vec<String> = heard.last_errors.iter().cloned().collect();
        if lines.is_empty() {
            String::new()
        } else {
            format!("; the last it said:\n{}", lines.join("\n"))
        }
    };
    match (config.protocol, heard.outcome) {
        (Protocol::Jsonl, Some(outcome)) if outcome.success && exit.success() => Ok(Report {
            rows_processed: outcome.rows_processed,
            bytes_transferred: outcome.bytes_transferred,
            output: outcome.output,
            balance: None,
        }),
        (Protocol::Jsonl, Some(outcome)) if !outcome.success => Err(told(outcome.error.as_ref())),
        (Protocol::Jsonl, Some(_)) => Err(StepError::transient(format!(
            "the program reported success but {how}{}",
            quote()
        ))),
        (Protocol::Jsonl, None) => Err(StepError::transient(format!(
            "the program {how} without a result line{}",
            quote()
        ))),
        (Protocol::Text, _) if exit.success() => {
            let output: Vec<u8> = heard.output.into();
            let mut report = Map::new();
            report.insert("exit_code".into(), json!(0));
            report.insert("stdout".into(), printable(&output).into());
            Ok(Report {
                output: Value::Object(report),
                ..Report::default()
            })
        }
        (Protocol::Text, _) => Err(StepError::transient(format!(
            "the program {how}{}",
            quote()
        ))),
    }
}

/// Text without control characters, which as JSON would take six bytes each.
fn printable(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars()
        .map(|c| {
            if is_plain(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// A failure that the program itself reports: a text, or an object with `message` and `class`.
fn told(error: Option<&Value>) -> StepError {
    let message = match error {
        Some(Value::String(message)) => message.clone(),
        Some(Value::Object(error)) => error
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("no message")
            .to_owned(),
        _ => "the program reported a failure without a message".into(),
    };
    let class = error
        .and_then(|error| error.get("class"))
        .and_then(|class| serde_json::from_value(class.clone()).ok());
    StepError::new(class.unwrap_or(ErrorClass::Transient), message)
}

fn how_it_ended(exit: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (exit.code(), exit.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal)
                .map_or_else(|_| signal.to_string(), |signal| signal.to_string());
            format!("was ended by {name}")
        }
        (None, None) => "ended in an unknown way".into(),
    }
}
