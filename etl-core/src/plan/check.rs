//! A text checked in one look: its shape and its meaning together.

use serde_json::Value;

use super::validate::meaning;
use crate::document::{Document, LocatedFault, Read, read, read_value};
use crate::model::{Fault, Pipeline};
use crate::registry::Registry;

/// Reads and checks a pipeline document.
///
/// # Errors
/// Every fault, in the order of the text: what is wrong with the shape does not hide what is wrong with the meaning.
pub fn check_text(text: &str, registry: &Registry) -> Result<Document, Vec<LocatedFault>> {
    check_completed(text, registry, |_| ())
}

/// As [`check_text`], for a document that is completed from beside it, such as by the days of a calendar in a file of its
/// own, before its meaning is checked.
///
/// # Errors
/// As [`check_text`].
pub fn check_completed(
    text: &str,
    registry: &Registry,
    complete: impl FnOnce(&mut Pipeline),
) -> Result<Document, Vec<LocatedFault>> {
    meaning_of(read(text), registry, complete)
}

/// Checks a pipeline document that came as JSON.
///
/// # Errors
/// Every fault, each with its pointer.
pub fn check_value(value: Value, registry: &Registry) -> Result<Pipeline, Vec<Fault>> {
    match meaning_of(read_value(value), registry, |_| ()) {
        Ok(document) => Ok(document.pipeline),
        Err(faults) => Err(faults.into_iter().map(|located| located.fault).collect()),
    }
}

fn meaning_of(
    mut read: Read,
    registry: &Registry,
    complete: impl FnOnce(&mut Pipeline),
) -> Result<Document, Vec<LocatedFault>> {
    let mut faults = std::mem::take(&mut read.faults);
    let Some(mut document) = read.document.take() else {
        return Err(in_order(faults));
    };
    complete(&mut document.pipeline);
    // Where the shape is wrong already, what follows from it is not said again.
    let found: Vec<LocatedFault> = meaning(&document.pipeline, registry)
        .into_iter()
        .filter(|fault| !read.is_mended(&fault.pointer))
        .map(|fault| document.locate(fault))
        .collect();
    faults.extend(found);
    if faults.is_empty() {
        Ok(document)
    } else {
        Err(in_order(faults))
    }
}

fn in_order(mut faults: Vec<LocatedFault>) -> Vec<LocatedFault> {
    faults.sort();
    faults.dedup();
    faults
}
