//! The program `etl` as a whole, beside DuckDB and polars at the same work: wall time, processor time, and the most memory that
//! was resident.
//!
//! `process [ROWS…]`: the sizes of the CSV file; by default 1,000,000 and 10,000,000 rows, about 92 bytes each. Python 3 with
//! `venv` makes the rivals' place in the target folder once; without it, or without a package index, `etl` is measured alone.

mod contender;
mod data;
mod measure;
mod startup;
mod work;

use anyhow::{Context, Result};
use etl_benches::{Report, work_folder};

/// How many threads each program may use; it is also kept to so many processors.
const THREADS: usize = 2;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(command) = measure::command(&args) {
        return measure::child(command);
    }
    let sizes: Vec<usize> = if args.is_empty() {
        vec![1_000_000, 10_000_000]
    } else {
        args.iter()
            .map(|text| {
                text.parse()
                    .with_context(|| format!("{text:?} is no number of rows"))
            })
            .collect::<Result<_>>()?
    };
    let mut report = Report::new("process");
    report.fact("threads", THREADS);
    let folder = work_folder()?;
    startup::measure(folder.path(), &mut report)?;
    let contenders = contender::all(folder.path(), &mut report)?;
    for rows in sizes {
        work::measure(folder.path(), rows, &contenders, &mut report)?;
    }
    report.keep()?;
    Ok(())
}
