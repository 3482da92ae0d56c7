//! `cargo xtask sim`: plays seeds of the simulation; see `docs/simulation.md`.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use etl_core::testing::sim::{self, Bug, Sweep};

/// How many seeds CI plays.
pub(crate) const SEEDS: u64 = 5_000;

/// What is to be played.
#[derive(Debug, Default)]
struct Wanted {
    from: u64,
    seeds: Option<u64>,
    seed: Option<u64>,
    trace: bool,
    bugs: Vec<Bug>,
}

/// Plays what `args` ask for; fails if a law is broken without a planted bug, or none with one.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let wanted = read(args)?;
    if let Some(seed) = wanted.seed {
        return one(seed, wanted.bugs.first().copied(), wanted.trace);
    }
    ensure!(!wanted.trace, "--trace is for one seed: name it by --seed");
    let seeds = wanted.seeds.unwrap_or(SEEDS);
    if wanted.bugs.is_empty() {
        return many(wanted.from, seeds);
    }
    for bug in wanted.bugs {
        let swept = sim::sweep(wanted.from..wanted.from + seeds, Some(bug), threads());
        let run = swept
            .broken
            .with_context(|| format!("{} is not seen within {seeds} seeds", bug.name()))?;
        let law = run.broken.map(|broken| broken.law).unwrap_or_default();
        println!("{:<24} seed {:<5} {law}", bug.name(), run.seed);
    }
    Ok(())
}

fn read(args: &[String]) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} takes a value"));
        match arg.as_str() {
            "--seeds" => wanted.seeds = Some(value()?.parse()?),
            "--from" => wanted.from = value()?.parse()?,
            "--seed" => wanted.seed = Some(value()?.parse()?),
            "--trace" => wanted.trace = true,
            "--bug" => match value()?.as_str() {
                "all" => wanted.bugs = Bug::ALL.to_vec(),
                name => wanted.bugs.push(Bug::named(name).with_context(|| {
                    let known: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
                    format!("unknown bug {name:?}; known are all, {}", known.join(", "))
                })?),
            },
            other => bail!(
                "unknown argument {other:?}; known are --seeds, --from, --seed, --trace, --bug"
            ),
        }
    }
    Ok(wanted)
}

fn one(seed: u64, bug: Option<Bug>, trace: bool) -> Result<()> {
    let run = if trace {
        sim::trace(seed, bug)
    } else {
        sim::run(seed, bug)
    };
    println!("{run}");
    ensure!(run.broken.is_none(), "seed {seed} breaks a law");
    Ok(())
}

/// Plays so many seeds without a planted bug.
pub(crate) fn many(from: u64, seeds: u64) -> Result<()> {
    let began = Instant::now();
    let swept = sim::sweep(from..from + seeds, None, threads());
    let took = began.elapsed().as_secs_f64();
    let Sweep {
        seeds: played,
        events,
        jobs,
        simulated,
        ..
    } = swept;
    println!(
        "{played} seeds, {jobs} jobs, {events} events, {:.0} h simulated in {took:.1} s ({:.0} seeds/s)",
        simulated.as_secs_f64() / 3600.0,
        played as f64 / took
    );
    if let Some(run) = swept.broken {
        println!("{run}");
        bail!(
            "seed {} breaks a law; see all of it by: cargo xtask sim --seed {} --trace",
            run.seed,
            run.seed
        );
    }
    Ok(())
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
