//! Answers for people.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use etl_core::model::{LogLine, StepRecord, StepStatus};
use etl_core::sdk::Outcome;

use super::json::is_replaced;

/// The most rows of the summary; a fan-out of thousands is summed up instead.
const MOST_ROWS: usize = 60;

/// The narrowest terminal that a table is fitted into, in columns.
const LEAST_COLUMNS: u16 = 40;

/// A table with this head.
pub(crate) fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head);
    // A terminal that does not know its size says 0: a table of one letter a line helps nobody.
    if table.width().is_some_and(|columns| columns < LEAST_COLUMNS) {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

/// Milliseconds for people.
pub(crate) fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{:.1} s", milliseconds as f64 / 1_000.0),
        _ => format!(
            "{} min {:02} s",
            milliseconds / 60_000,
            milliseconds / 1_000 % 60
        ),
    }
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A number with separators.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something, in words.
pub(crate) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// What became of a job: its steps as a table, and a line for the whole.
pub(crate) fn summary(outcome: &Outcome) -> String {
    let mut table = table([
        "step",
        "connector",
        "status",
        "attempts",
        "rows",
        "bytes",
        "took",
    ]);
    let shown: Vec<&StepRecord> = outcome
        .steps
        .iter()
        .filter(|step| !is_replaced(step))
        .collect();
    let rows: Vec<&StepRecord> = if shown.len() > MOST_ROWS {
        outcome
            .steps
            .iter()
            .filter(|step| step.item_index.is_none())
            .collect()
    } else {
        shown
    };
    for step in rows.iter().take(MOST_ROWS) {
        table.add_row([
            step_name(step),
            step.connector_type.to_string(),
            status(step),
            step.attempt.to_string(),
            number(step.rows_processed),
            bytes(step.bytes_transferred),
            step.duration_ms.map(duration).unwrap_or_default(),
        ]);
    }
    let mut text = format!("{table}\n");
    if rows.len() > MOST_ROWS {
        let _ = writeln!(
            text,
            "… and {} more steps: `etl job {} --json` has all",
            rows.len() - MOST_ROWS,
            outcome.job.id
        );
    }
    let job = &outcome.job;
    let _ = writeln!(
        text,
        "job {} of {}: {} in {}, {} rows, {}",
        job.id,
        job.pipeline,
        job.status,
        job.duration_ms.map_or_else(|| "–".into(), duration),
        number(job.rows_processed),
        bytes(job.bytes_transferred),
    );
    if let Some(error) = &job.error_message {
        let _ = writeln!(text, "{error}");
    }
    for cause in job.error_stack.iter().flat_map(|causes| causes.lines()) {
        let _ = writeln!(text, "  because: {cause}");
    }
    text
}

fn step_name(step: &StepRecord) -> String {
    match (step.item_index, step.items) {
        (Some(item), _) => format!("{}[{item}]", step.name),
        (None, Some(items)) => format!("{} × {items}", step.name),
        (None, None) => step.name.to_string(),
    }
}

fn status(step: &StepRecord) -> String {
    match (step.status, step.skip_reason) {
        (StepStatus::Skipped, Some(reason)) => {
            format!("skipped ({})", reason.as_str().replace('_', " "))
        }
        (status, _) => status.to_string(),
    }
}

/// One line of a job's log.
pub(crate) fn log_line(line: &LogLine) -> String {
    let mut text = format!("{} {:5} ", line.timestamp, line.level);
    if let Some(step) = &line.step {
        let _ = match line.item_index {
            Some(item) => write!(text, "{step}[{item}]"),
            None => write!(text, "{step}"),
        };
        let _ = if line.attempt > 1 {
            write!(text, "#{}: ", line.attempt)
        } else {
            write!(text, ": ")
        };
    }
    // One line of the log is one line here, whatever a step says.
    text.push_str(&line.message.replace(['\n', '\r'], "\u{fffd}"));
    if !line.metadata.is_empty() {
        let _ = write!(
            text,
            " {}",
            serde_json::Value::Object(line.metadata.clone())
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(
            [duration(7), duration(1_250), duration(61_000)],
            ["7 ms", "1.2 s", "1 min 01 s"]
        );
        assert_eq!(
            [bytes(1_023), bytes(1_536), bytes(5 << 30)],
            ["1023 B", "1.5 KiB", "5.0 GiB"]
        );
        assert_eq!(
            [number(7), number(1_000), number(12_345_678)],
            ["7", "1,000", "12,345,678"]
        );
    }
}
