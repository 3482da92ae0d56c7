//! Pipeline files: read, checked, and their faults as people and programs see them.

use std::fmt;
use std::path::Path;

use etl_core::document::{Document, LocatedFault};
use etl_core::model::{Calendar, Fault, MAX_DOCUMENT_BYTES};
use etl_core::plan;
use etl_core::registry::Registry;
use etl_core::schedule::BusinessCalendar;
use serde::Serialize;

/// A fault of the input as `--json` gives it. What has no place in a file has neither file nor line nor column.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct InputFault {
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    pointer: String,
    message: String,
    hint: Option<String>,
}

impl InputFault {
    /// A fault of a file as a whole.
    pub(crate) fn of_file(file: &Path, message: String, hint: Option<String>) -> Self {
        Self {
            file: Some(file.display().to_string()),
            line: Some(1),
            column: Some(1),
            pointer: String::new(),
            message,
            hint,
        }
    }

    fn located(file: &Path, located: LocatedFault) -> Self {
        let LocatedFault {
            line,
            column,
            fault,
        } = located;
        Self {
            file: Some(file.display().to_string()),
            line: Some(line),
            column: Some(column),
            ..Self::from(fault)
        }
    }

    /// A fault that is about nothing that can be pointed at.
    pub(crate) fn general(message: String, hint: Option<String>) -> Self {
        Self {
            message,
            hint,
            ..Self::default()
        }
    }
}

/// A fault of a job's parameters.
impl From<Fault> for InputFault {
    fn from(fault: Fault) -> Self {
        Self {
            pointer: fault.pointer,
            message: fault.message,
            hint: fault.hint,
            ..Self::default()
        }
    }
}

/// For a person, places in the form that editors jump by.
impl fmt::Display for InputFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => write!(f, "{file}:{line}:{column}: ")?,
            _ if self.pointer.is_empty() => write!(f, "parameters: ")?,
            _ => write!(f, "parameter {}: ", self.pointer.trim_start_matches('/'))?,
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Reads and checks a pipeline file; all of its faults at once. A calendar that it names and that is not shipped is looked
/// for in `calendars/NAME.txt` beside it.
pub(crate) fn read(file: &Path, registry: &Registry) -> Result<Document, Vec<InputFault>> {
    read_below(file.parent().unwrap_or(Path::new("")), file, registry)
}

/// As [`read`], with calendars in the folder of a whole project too.
pub(crate) fn read_below(
    root: &Path,
    file: &Path,
    registry: &Registry,
) -> Result<Document, Vec<InputFault>> {
    let text = read_text(file).map_err(|fault| vec![fault])?;
    let beside = file.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    let checked = plan::check_completed(&text, registry, |pipeline| {
        if let Some(calendar) = &mut pipeline.calendar {
            found = bring_along(calendar, [beside, root]);
        }
    });
    let located = |fault| InputFault::located(file, fault);
    match checked {
        Ok(document) if found.is_empty() => Ok(document),
        Ok(_) => Err(found),
        // A calendar that is faulty is not missing, too.
        Err(_) if !found.is_empty() => Err(found),
        Err(faults) => Err(faults.into_iter().map(located).collect()),
    }
}

/// What is to be said of a document that can be used, at its place.
pub(crate) fn placed(file: &Path, document: &Document, fault: Fault) -> InputFault {
    InputFault::located(file, document.locate(fault))
}

/// Gives a document's calendar the days that a file has for it, and answers the faults of that file.
fn bring_along(calendar: &mut Calendar, folders: [&Path; 2]) -> Vec<InputFault> {
    let is_shipped = BusinessCalendar::shipped_names().any(|name| name == calendar.name);
    // A name is no path.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if is_shipped || !calendar.holidays.is_empty() || !calendar.name.chars().all(is_plain) {
        return Vec::new();
    }
    let file = format!("calendars/{}.txt", calendar.name);
    let files = folders.map(|folder| folder.join(&file));
    let Some(file) = files.iter().find(|file| file.is_file()) else {
        return Vec::new();
    };
    let text = match read_text(file) {
        Ok(text) => text,
        Err(fault) => return vec![fault],
    };
    match text.parse::<BusinessCalendar>() {
        Ok(found) if found.is_plain() && found.dates().next().is_some() => {
            calendar.holidays = found.dates().map(|day| day.to_string()).collect();
            Vec::new()
        }
        Ok(_) => vec![InputFault::of_file(
            file,
            "a calendar that goes with a pipeline is a list of days".into(),
            Some("a line each: 2026-12-24 and a name".into()),
        )],
        Err(fault) => vec![InputFault {
            line: Some(fault.line),
            ..InputFault::of_file(file, fault.message, None)
        }],
    }
}

#[expect(
    clippy::result_large_err,
    reason = "told once, at the end of the program"
)]
fn read_text(file: &Path) -> Result<String, InputFault> {
    use std::io::Read;
    let unreadable = |error: std::io::Error| {
        InputFault::of_file(file, format!("the file can't be read: {error}"), None)
    };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    opened
        .take(MAX_DOCUMENT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > MAX_DOCUMENT_BYTES {
        let message = format!("the document is larger than {MAX_DOCUMENT_BYTES} bytes");
        return Err(InputFault::of_file(
            file,
            message,
            Some("make two pipelines of it".into()),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let start = good
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let column = 1 + String::from_utf8_lossy(&good[start..]).chars().count();
        let hint = Some("save the file as UTF-8".into());
        InputFault {
            line: Some(line),
            column: Some(column),
            ..InputFault::of_file(file, "the text is not UTF-8".into(), hint)
        }
    })
}
