//! Who does the work: `etl`, and its rivals from the Python package index in an environment of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use etl_benches::{Report, bench_folder, program};
use serde_json::{Value, json};

use crate::THREADS;

/// A program that can do a work.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    program: PathBuf,
    /// The script, for one that needs a script.
    script: Option<PathBuf>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The CSV file as Parquet, with zstd of level 1.
    Copy,
    /// The flights as Parquet, joined with two CSV files, grouped.
    Join,
}

impl Work {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Join => "join",
        }
    }
}

/// `etl` first, then those rivals that can be had.
pub(crate) fn all(folder: &Path, report: &mut Report) -> Result<Vec<Contender>> {
    let etl = program("etl")?;
    let mut all = vec![Contender {
        name: "etl",
        program: etl,
        script: None,
    }];
    match python() {
        Ok(python) => {
            for name in ["duckdb", "polars"] {
                let version = said(
                    Command::new(&python)
                        .args(["-c", &format!("import {name}; print({name}.__version__)")]),
                )?;
                report.fact(name, version.trim());
                all.push(Contender {
                    name,
                    program: python.clone(),
                    script: Some(rivals().join(format!("with_{name}.py"))),
                });
            }
        }
        Err(error) => {
            println!("etl is measured alone: {error:#}");
            report.fact("rivals", Value::Null);
        }
    }
    for work in [Work::Copy, Work::Join] {
        let file = folder.join(format!("{}.json", work.name()));
        std::fs::write(file, document(work).to_string())?;
    }
    Ok(all)
}

/// The interpreter of the rivals' environment, which is made once.
fn python() -> Result<PathBuf> {
    let home = bench_folder()?.join("venv");
    let python = home.join("bin/python");
    if !python.is_file() {
        said(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
    }
    said(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(rivals().join("requirements.txt")),
    )?;
    Ok(python)
}

fn rivals() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals")
}

impl Contender {
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn args(&self, work: Work, folder: &Path, rows: usize) -> Vec<String> {
        match &self.script {
            None => vec![
                "run".to_owned(),
                format!("{}.json", work.name()),
                format!("--param=rows={rows}"),
                format!("--parallelism={THREADS}"),
                "--json".to_owned(),
            ],
            Some(script) => vec![
                script.display().to_string(),
                THREADS.to_string(),
                work.name().to_owned(),
                folder.display().to_string(),
                rows.to_string(),
            ],
        }
    }

    /// What it writes.
    pub(crate) fn output(&self, work: Work, folder: &Path) -> PathBuf {
        folder.join(format!("{}-{}.parquet", work.name(), self.name))
    }

    /// The number of rows that it wrote and a checksum of them; `None` if there is no rival that could tell.
    pub(crate) fn checksum(
        &self,
        all: &[Self],
        work: Work,
        folder: &Path,
    ) -> Result<Option<String>> {
        let Some(python) = all.iter().find(|contender| contender.script.is_some()) else {
            return Ok(None);
        };
        let script = rivals().join("checksum.py");
        said(
            Command::new(&python.program)
                .arg(script)
                .arg(self.output(work, folder)),
        )
        .map(Some)
    }
}

/// What a program says on its standard output.
fn said(command: &mut Command) -> Result<String> {
    let ran = command
        .output()
        .with_context(|| format!("{} can't be run", command.get_program().display()))?;
    ensure!(
        ran.status.success(),
        "{} failed: {}",
        command.get_program().display(),
        String::from_utf8_lossy(&ran.stderr).trim()
    );
    Ok(String::from_utf8(ran.stdout)?)
}

/// The pipeline for `etl`.
fn document(work: Work) -> Value {
    let step = match work {
        Work::Copy => json!({
            "name": "copy",
            "connector_type": "copy",
            "config": {
                "source": {
                    "type": "csv",
                    "url": "flights-{{ params.rows }}.csv",
                    "null_values": ["NA", ""],
                    "schema": schema(),
                },
                "sink": {"type": "parquet", "url": "copy-etl.parquet"},
            },
        }),
        Work::Join => json!({
            "name": "join",
            "connector_type": "sql",
            "config": {
                "inputs": {
                    "flights": "flights-{{ params.rows }}.parquet",
                    "airlines": "airlines.csv",
                    "planes": {"type": "csv", "url": "planes.csv", "null_values": ["NA", ""]},
                },
                "query": "SELECT f.month, a.name AS carrier_name, p.manufacturer, count(*) AS flights,
                                 sum(f.arr_delay) AS arr_delay, max(f.distance) AS distance, sum(p.seats) AS seats
                          FROM flights f
                          JOIN airlines a ON a.carrier = f.carrier
                          LEFT JOIN planes p ON p.tailnum = f.tailnum
                          GROUP BY f.month, a.name, p.manufacturer",
                "output": {"type": "parquet", "url": "join-etl.parquet"},
            },
        }),
    };
    json!({
        "name": work.name(),
        "parameters": {"type": "object", "properties": {"rows": {"type": "integer"}}, "required": ["rows"]},
        "steps": [step],
    })
}

/// The types of the flights' columns, the same for all: nobody has to guess.
fn schema() -> Value {
    let texts = ["carrier", "tailnum", "origin", "dest"].map(|name| (name, "string"));
    let numbers = [
        "year",
        "month",
        "day",
        "dep_time",
        "sched_dep_time",
        "dep_delay",
        "arr_time",
        "sched_arr_time",
        "arr_delay",
        "flight",
        "air_time",
        "distance",
        "hour",
        "minute",
    ]
    .map(|name| (name, "int64"));
    let columns = texts
        .into_iter()
        .chain(numbers)
        .chain([("time_hour", "timestamp")]);
    columns
        .map(|(name, kind)| (name.to_owned(), Value::from(kind)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
