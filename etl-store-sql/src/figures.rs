//! Figures as rows of sums become them.

use std::collections::BTreeMap;

use etl_core::model::{Durations, HourFigures, JobFigures, StepFigures, Timestamp};

use crate::fault::Result;
use crate::rows::Columns;

/// Which of so many durations in order, from 1, are asked for: `n` and `total` are columns of a window over them. Nearest rank.
pub const RANKS: &str = "n = (total + 1) / 2 OR n = (total * 95 + 99) / 100";

/// Of rows that have the hour's beginning, a job status, how many, their rows and their bytes, by hour; of rows that have a
/// duration, its number in order and how many there are; and of rows that have an error class and how many.
pub fn job_figures<R: Columns>(hours: &[R], ranks: &[R], classes: &[R]) -> Result<JobFigures> {
    let mut figures = JobFigures {
        durations: durations(ranks)?,
        errors: errors(classes)?,
        ..JobFigures::default()
    };
    for row in hours {
        let hour: Timestamp = row.parsed(0)?;
        if figures.hours.last().is_none_or(|last| last.hour != hour) {
            figures.hours.push(HourFigures {
                hour,
                by_status: BTreeMap::new(),
            });
        }
        if let Some(last) = figures.hours.last_mut() {
            last.by_status.insert(row.parsed(1)?, row.number(2)?);
        }
        figures.rows_processed += row.number::<u64>(3)?;
        figures.bytes_transferred += row.number::<u64>(4)?;
    }
    Ok(figures)
}

/// Of rows that have a step status, how many, their attempts, their rows and their bytes; and of rows as
/// [`job_figures`] takes them.
pub fn step_figures<R: Columns>(statuses: &[R], ranks: &[R], classes: &[R]) -> Result<StepFigures> {
    let mut figures = StepFigures {
        durations: durations(ranks)?,
        errors: errors(classes)?,
        ..StepFigures::default()
    };
    for row in statuses {
        figures.by_status.insert(row.parsed(0)?, row.number(1)?);
        figures.attempts += row.number::<u64>(2)?;
        figures.rows_processed += row.number::<u64>(3)?;
        figures.bytes_transferred += row.number::<u64>(4)?;
    }
    Ok(figures)
}

/// Of rows that have a duration, its number in order and how many there are, by that number: those of [`RANKS`].
fn durations<R: Columns>(ranks: &[R]) -> Result<Durations> {
    let mut found = Durations::default();
    for row in ranks {
        let (took, n, total): (u64, u64, u64) = (row.number(0)?, row.number(1)?, row.number(2)?);
        if n == total.div_ceil(2) {
            found.duration_p50_ms = Some(took);
        }
        if n == (total * 95).div_ceil(100) {
            found.duration_p95_ms = Some(took);
        }
    }
    Ok(found)
}

/// Of rows that have an error class and how many.
fn errors<R: Columns>(classes: &[R]) -> Result<BTreeMap<String, u64>> {
    let classes = classes.iter();
    classes
        .map(|row| Ok((row.str(0)?.to_owned(), row.number(1)?)))
        .collect()
}
