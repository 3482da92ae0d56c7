//! The stages of CI, in the order in which they fail soonest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{layers, sim};

/// Programs whose output is checked by themselves.
const EXAMPLES: [&str; 5] = ["embed", "connector", "closure", "watch", "durable"];

/// Runs every stage; stops at the first that fails and says how to repeat it.
pub(crate) fn ci() -> Result<()> {
    let began = Instant::now();
    stage("format", "cargo fmt --all --check", &[])?;
    timed("layers", layers::check)?;
    timed("slim", slim)?;
    stage(
        "clippy",
        "cargo clippy --workspace --all-targets --locked -- -D warnings",
        &[],
    )?;
    stage(
        "tests",
        "cargo nextest run --workspace --locked --no-fail-fast",
        &[],
    )?;
    stage(
        "doc tests",
        "cargo test --workspace --locked --doc --quiet",
        &[],
    )?;
    stage("schemathesis", "scripts/schemathesis", &[])?;
    timed("simulation", || sim::many(0, sim::SEEDS))?;
    for example in EXAMPLES {
        stage(
            &format!("example {example}"),
            &format!("cargo run --quiet --locked -p etl-examples --bin {example}"),
            &[],
        )?;
    }
    stage(
        "documentation",
        "cargo doc --workspace --locked --no-deps --quiet",
        &[("RUSTDOCFLAGS", "-D warnings")],
    )?;
    println!("── all stages passed in {} s", began.elapsed().as_secs());
    Ok(())
}

/// The core must stay cheap to depend on: none of the heavy crates may come into it.
fn slim() -> Result<()> {
    let tree = Command::new("cargo")
        .args([
            "tree", "--locked", "-p", "etl-core", "-e", "normal", "--prefix", "none",
        ])
        .output()
        .context("cargo tree can't be run")?;
    let tree = String::from_utf8(tree.stdout)?;
    anyhow::ensure!(
        tree.contains("etl-core"),
        "cargo tree says nothing of etl-core"
    );
    let heavy = [
        "sqlx",
        "arrow",
        "datafusion",
        "axum",
        "reqwest",
        "openssl-sys",
    ];
    let found: Vec<&str> = tree
        .lines()
        .filter(|line| {
            heavy
                .iter()
                .any(|name| line.split(' ').next() == Some(name))
        })
        .collect();
    if !found.is_empty() {
        bail!("etl-core depends on {}", found.join(", "));
    }
    Ok(())
}

fn stage(name: &str, command: &str, environment: &[(&str, &str)]) -> Result<()> {
    timed(name, || {
        let mut words = command.split(' ');
        let program = words.next().context("a stage without a command")?;
        let status = Command::new(program)
            .args(words)
            .envs(environment.iter().copied())
            .status()
            .with_context(|| format!("{program} can't be run"))?;
        if !status.success() {
            bail!("{name} failed; repeat it by: {command}");
        }
        Ok(())
    })
}

fn timed(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("── {name}");
    let began = Instant::now();
    run()?;
    println!("── {name} passed in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}
