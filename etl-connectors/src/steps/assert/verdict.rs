//! From what the checks found to the end of the step.

use etl_core::model::{Report, StepError};
use serde_json::{Map, Value, json};

use super::checks::Finding;
use crate::flow::Flow;

/// The most bytes of a row that are shown.
const SHOWN_OF_A_ROW: usize = 2 * 1024;

/// How long a message may get, in bytes, before the remaining checks are only counted.
const LONGEST_MESSAGE: usize = 32 * 1024;

/// The report if every check holds, else a failure that says each that does not. It is permanent: the same rows would fail again.
pub(super) fn of(row_count: u64, findings: &[Finding], flow: &Flow) -> Result<Report, StepError> {
    let failed: Vec<&Finding> = findings.iter().filter(|f| f.fault.is_some()).collect();
    if !failed.is_empty() {
        return Err(StepError::permanent(message(
            row_count,
            findings.len(),
            &failed,
        )));
    }
    let report = Report {
        rows_processed: row_count,
        bytes_transferred: flow.meter.bytes_read(),
        ..Report::default()
    };
    Ok(report.with_output(json!({
        "row_count": row_count,
        "rows_quarantined": flow.quarantine.count(),
        "checks": findings,
    })))
}

fn message(row_count: u64, made: usize, failed: &[&Finding]) -> String {
    let plural = if made == 1 { "" } else { "s" };
    let mut message = format!(
        "{} of {made} check{plural} failed; the input has {row_count} rows",
        failed.len()
    );
    for (index, finding) in failed.iter().enumerate() {
        if message.len() > LONGEST_MESSAGE {
            message.push_str(&format!("\n… and {} more", failed.len() - index));
            break;
        }
        let of = match &finding.name {
            Some(name) => format!(" {name:?}"),
            None if finding.columns.is_empty() => String::new(),
            None => format!(" {}", finding.columns.join(", ")),
        };
        let fault = finding.fault.as_deref().unwrap_or_default();
        message.push_str(&format!("\n{}{of}: {fault}", finding.check));
        for row in &finding.examples {
            message.push_str("\n  ");
            message.push_str(&shown(row, &finding.columns));
        }
    }
    message
}

/// A row as JSON, cut if it is long; the columns that the check is about come first, so that a cut leaves them.
fn shown(row: &Value, first: &[String]) -> String {
    let empty = Map::new();
    let row = row.as_object().unwrap_or(&empty);
    let checked = first.iter().filter_map(|name| row.get_key_value(name));
    let others = row.iter().filter(|(name, _)| !first.contains(name));
    let mut text = String::from("{");
    for (name, value) in checked.chain(others) {
        if text.len() > 1 {
            text.push_str(", ");
        }
        text.push_str(&format!("{}: {value}", Value::from(name.as_str())));
        if text.len() > SHOWN_OF_A_ROW {
            text.truncate(text.floor_char_boundary(SHOWN_OF_A_ROW));
            text.push('…');
            return text;
        }
    }
    text.push('}');
    text
}
