//! From how a program ended and what it said to how the step ends.

use std::process::ExitStatus;

use etl_core::model::{ErrorClass, Report, StepError};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};

use super::Protocol;
use super::process::Heard;

/// How much of a line of standard error a failure quotes, and of a failure that the program reports itself, in bytes.
const QUOTED_BYTES: usize = 2 * 1024;

/// The report or the failure.
pub(super) fn of(exit: ExitStatus, protocol: Protocol, heard: Heard) -> Result<Report, StepError> {
    let how = how_it_ended(exit);
    let quote = || {
        let lines: Vec<&str> = heard.last_errors.iter().map(String::as_str).collect();
        if lines.is_empty() {
            String::new()
        } else {
            format!("; the last it said:\n{}", lines.join("\n"))
        }
    };
    match (protocol, heard.outcome) {
        (Protocol::Jsonl, Some(outcome)) if outcome.success && exit.success() => Ok(Report {
            rows_processed: outcome.rows_processed,
            bytes_transferred: outcome.bytes_transferred,
            output: outcome.output,
            balance: None,
        }),
        (Protocol::Jsonl, Some(outcome)) if !outcome.success => Err(told(outcome.error.as_ref())),
        (Protocol::Jsonl, Some(_)) => Err(StepError::transient(format!(
            "the program reported success but {how}{}",
            quote()
        ))),
        (Protocol::Jsonl, None) => Err(StepError::transient(format!(
            "the program {how} without a result line{}",
            quote()
        ))),
        (Protocol::Text, _) if exit.success() => {
            let output: Vec<u8> = heard.output.into();
            let mut report = Map::new();
            report.insert("exit_code".into(), json!(0));
            report.insert("stdout".into(), printable(&output).into());
            Ok(Report {
                output: Value::Object(report),
                ..Report::default()
            })
        }
        (Protocol::Text, _) => Err(StepError::transient(format!(
            "the program {how}{}",
            quote()
        ))),
    }
}

/// Text without control characters, which as JSON would take six bytes each.
fn printable(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars()
        .map(|c| {
            if is_plain(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// A failure that the program itself reports: a text, or an object with `message` and `class`.
fn told(error: Option<&Value>) -> StepError {
    let message = match error {
        Some(Value::String(message)) => message.clone(),
        Some(Value::Object(error)) => error
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("no message")
            .to_owned(),
        _ => "the program reported a failure without a message".into(),
    };
    let class = error
        .and_then(|error| error.get("class"))
        .and_then(|class| serde_json::from_value(class.clone()).ok());
    StepError::new(class.unwrap_or(ErrorClass::Transient), quoted(&message))
}

fn how_it_ended(exit: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (exit.code(), exit.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal)
                .map_or_else(|_| signal.to_string(), |signal| signal.to_string());
            format!("was ended by {name}")
        }
        (None, None) => "ended in an unknown way".into(),
    }
}

/// The beginning of a text that a message quotes.
pub(super) fn quoted(text: &str) -> String {
    let end = text.floor_char_boundary(QUOTED_BYTES);
    let cut = if end < text.len() { "…" } else { "" };
    format!("{}{cut}", &text[..end])
}
