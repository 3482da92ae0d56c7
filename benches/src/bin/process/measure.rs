//! One run of another program and what it used. The run is started by a small process of its own, which does nothing else: so
//! what its children used is what this one child used, and the memory of the harness, which a child has until it becomes the
//! program, is not counted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::THREADS;

/// The first argument of the process that starts a run; the second is the file for its figures.
const MARK: &str = "--measured";

/// What a run used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// From its start to its end, in seconds.
    pub(crate) wall: f64,
    /// Of all processors, in seconds.
    pub(crate) cpu: f64,
    /// The most memory that was resident, in MiB.
    pub(crate) rss: f64,
}

/// Runs a program to its end.
///
/// # Errors
/// If it can't be run or fails; then with what it said.
pub(crate) fn run(folder: &Path, program: &Path, args: &[String]) -> Result<Usage> {
    let figures = folder.join("usage.json");
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let ran = Command::new(own)
        .arg(MARK)
        .arg(&figures)
        .arg(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} can't be run", program.display()))?;
    ensure!(
        ran.status.success(),
        "{} {} failed: {}{}",
        program.display(),
        args.join(" "),
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    let figures: Value = serde_json::from_slice(&std::fs::read(figures)?)?;
    let figure = |name: &str| {
        figures[name]
            .as_f64()
            .with_context(|| format!("the run has no figure {name:?}"))
    };
    Ok(Usage {
        wall: figure("wall")?,
        cpu: figure("cpu")?,
        rss: figure("rss")?,
    })
}

/// What is to be run, if this process is one that starts a run.
pub(crate) fn command(args: &[String]) -> Option<&[String]> {
    match args {
        [mark, rest @ ..] if mark == MARK => Some(rest),
        _ => None,
    }
}

/// Starts the run and writes down what it used.
pub(crate) fn child(command: &[String]) -> Result<()> {
    let [figures, program, args @ ..] = command else {
        bail!("{MARK} needs a file and a program");
    };
    keep_to(THREADS)?;
    let began = Instant::now();
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("{program} can't be run"))?;
    let wall = began.elapsed().as_secs_f64();
    ensure!(status.success(), "{program}: {status}");
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0;
    let document = json!({
        "wall": wall,
        "cpu": seconds(used.user_time()) + seconds(used.system_time()),
        // Linux counts in KiB.
        "rss": used.max_rss() as f64 / 1024.0,
    });
    std::fs::write(PathBuf::from(figures), document.to_string())?;
    Ok(())
}

/// Keeps this process and its children to so many of its processors.
fn keep_to(count: usize) -> Result<()> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own)?;
    let mut few = CpuSet::new();
    let processors = (0..CpuSet::count()).filter(|at| allowed.is_set(*at).unwrap_or(false));
    for processor in processors.take(count) {
        few.set(processor)?;
    }
    Ok(sched_setaffinity(own, &few)?)
}
