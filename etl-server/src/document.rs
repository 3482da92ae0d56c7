//! Pipeline files: read, checked, and their faults as people and programs see them.

use std::path::Path;

use etl_core::document::{Document, LocatedFault};
use etl_core::model::MAX_DOCUMENT_BYTES;
use etl_core::plan;
use etl_core::registry::Registry;
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// A fault as `etl validate --json` gives it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FileFault {
    file: String,
    line: usize,
    column: usize,
    pointer: String,
    message: String,
    hint: Option<String>,
}

impl FileFault {
    fn of_file(file: &Path, message: String, hint: Option<String>) -> Self {
        Self {
            file: file.display().to_string(),
            line: 1,
            column: 1,
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
            file: file.display().to_string(),
            line,
            column,
            pointer: fault.pointer,
            message: fault.message,
            hint: fault.hint,
        }
    }

    /// Writes the fault for a person, in the form that editors jump by.
    pub(crate) fn print(&self) {
        eprintln!(
            "{}:{}:{}: {}",
            self.file, self.line, self.column, self.message
        );
        if let Some(hint) = &self.hint {
            eprintln!("  hint: {hint}");
        }
    }
}

/// Reads and checks a pipeline file; all of its faults at once.
pub(crate) fn read(file: &Path, registry: &Registry) -> Result<Document, Vec<FileFault>> {
    let text = read_text(file).map_err(|fault| vec![fault])?;
    plan::check_text(&text, registry).map_err(|faults| {
        faults
            .into_iter()
            .map(|fault| FileFault::located(file, fault))
            .collect()
    })
}

/// Says all faults and gives the failure that ends the command.
pub(crate) fn refuse(faults: &[FileFault]) -> Failure {
    for fault in faults {
        fault.print();
    }
    let count = faults.len();
    Failure::new(
        Exit::BadInput,
        format!(
            "{count} fault{} in the pipeline",
            if count == 1 { "" } else { "s" }
        ),
    )
}

fn read_text(file: &Path) -> Result<String, FileFault> {
    use std::io::Read;
    let unreadable = |error: std::io::Error| {
        FileFault::of_file(file, format!("the file can't be read: {error}"), None)
    };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    opened
        .take(MAX_DOCUMENT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > MAX_DOCUMENT_BYTES {
        let message = format!("the document is larger than {MAX_DOCUMENT_BYTES} bytes");
        return Err(FileFault::of_file(
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
        FileFault {
            line,
            column,
            ..FileFault::of_file(file, "the text is not UTF-8".into(), hint)
        }
    })
}
