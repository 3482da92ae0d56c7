//! The same work by each contender, in turn, again and again; the middle of its runs counts. What they wrote must be the same.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use etl_benches::{Goal, Report, median};

use crate::contender::{Contender, Work};
use crate::data;
use crate::measure::{Usage, run};

const ROUNDS: usize = 5;

/// How much longer than DuckDB a copy may take.
const GOAL: Goal = Goal::AtMost(1.5);

/// What a copy may hold in memory, in MiB, whatever the file's size.
const MEMORY: Goal = Goal::AtMost(300.0);

pub(crate) fn measure(
    folder: &Path,
    rows: usize,
    contenders: &[Contender],
    report: &mut Report,
) -> Result<()> {
    let input = data::write(folder, rows)?;
    let size = std::fs::metadata(&input)?.len() as f64 / f64::from(1 << 20);
    report.add(format!("{rows} rows: CSV"), "MiB", vec![size], None);
    compare(Work::Copy, folder, rows, contenders, report)?;
    let own = contenders.first().context("nobody is measured")?;
    std::fs::rename(
        own.output(Work::Copy, folder),
        folder.join(format!("flights-{rows}.parquet")),
    )?;
    std::fs::remove_file(input)?;
    compare(Work::Join, folder, rows, contenders, report)
}

fn compare(
    work: Work,
    folder: &Path,
    rows: usize,
    contenders: &[Contender],
    report: &mut Report,
) -> Result<()> {
    let mut runs: Vec<Vec<Usage>> = vec![Vec::new(); contenders.len()];
    // The first round only warms the caches.
    for round in 0..=ROUNDS {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            // What the last run left to be written must not be paid for by this one.
            Command::new("sync").status().context("sync can't be run")?;
            let used = run(
                folder,
                contender.program(),
                &contender.args(work, folder, rows),
            )?;
            if round > 0 {
                runs.push(used);
            }
        }
    }
    let all = |of: fn(&Usage) -> f64, runs: &[Usage]| runs.iter().map(of).collect::<Vec<f64>>();
    let mut first_checksum = None;
    for (contender, runs) in contenders.iter().zip(&runs) {
        let output = contender.output(work, folder);
        let checksum = contender.checksum(contenders, work, folder)?;
        let expected = first_checksum.get_or_insert_with(|| checksum.clone());
        ensure!(
            *expected == checksum,
            "{} wrote other rows at {}: {checksum:?} and not {expected:?}",
            contender.name,
            work.name()
        );
        let name = format!("{rows} rows: {}, {}", work.name(), contender.name);
        let memory = (contender.name == "etl" && work == Work::Copy).then_some(MEMORY);
        let written = std::fs::metadata(output)?.len() as f64 / f64::from(1 << 20);
        report.add(
            format!("{name}: time"),
            "s",
            all(|used| used.wall, runs),
            None,
        );
        report.add(
            format!("{name}: processor time"),
            "s",
            all(|used| used.cpu, runs),
            None,
        );
        report.add(
            format!("{name}: memory"),
            "MiB",
            all(|used| used.rss, runs),
            memory,
        );
        report.add(format!("{name}: output"), "MiB", vec![written], None);
    }
    let time = |runs: &[Usage]| median(&all(|used| used.wall, runs));
    if let [own, rivals @ ..] = runs.as_slice() {
        for (contender, runs) in contenders.iter().skip(1).zip(rivals) {
            let goal = (contender.name == "duckdb" && work == Work::Copy).then_some(GOAL);
            let name = format!("{rows} rows: {}, etl to {}", work.name(), contender.name);
            report.add(name, "times", vec![time(own) / time(runs)], goal);
        }
    }
    Ok(())
}
