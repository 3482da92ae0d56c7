//! `cargo xtask bench`: the measured claims. Nothing fails because a machine is slow; see `docs/benchmarks.md`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The measurements, each a program of `etl-benches`.
const ALL: [&str; 5] = ["engine", "store", "deployment", "api", "process"];

/// Takes the measurement that `args` names first, or all; what follows the name is for the measurement.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let (names, rest) = match args {
        [] => (&ALL[..], args),
        [name, rest @ ..] => match ALL.iter().position(|known| known == name) {
            Some(at) => (&ALL[at..=at], rest),
            None => bail!("unknown measurement {name:?}; known are {}", ALL.join(", ")),
        },
    };
    // Apart, so that the program that is measured is the one that is shipped, with no feature that only a bench asks for.
    for package in ["etl-server", "etl-benches"] {
        let build = ["build", "--release", "--locked", "--package", package];
        succeed(Command::new("cargo").args(build))?;
    }
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let target = own.parent().and_then(Path::parent);
    let programs = target
        .context("this program is not in a target folder")?
        .join("release");
    for name in names {
        succeed(Command::new(programs.join(name)).args(rest))?;
    }
    Ok(())
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command
        .status()
        .with_context(|| format!("{program} can't be run"))?;
    ensure!(status.success(), "{program} failed: {status}");
    Ok(())
}
