//! A pipeline document read as far as it can be, so that one look finds every fault.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pointer;
use super::shape::{Shape, Templates};
use super::yaml::{Place, Places, load};
use crate::model::{Fault, Pipeline};

/// A pipeline with the places of its text.
#[derive(Debug)]
pub struct Document {
    /// The pipeline.
    pub pipeline: Pipeline,
    places: Places,
}

/// A fault with its place in the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LocatedFault {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What could be read of a text: the pipeline, as far as it goes, and every fault of the text's shape.
#[derive(Debug)]
pub struct Read {
    /// The pipeline, faulty parts left out; `None` if there is too little to go on.
    pub document: Option<Document>,
    /// The faults of its shape.
    pub faults: Vec<LocatedFault>,
}

/// The shape of the document, but for the connectors' own configurations.
pub(crate) static SHAPE: LazyLock<Shape> = LazyLock::new(|| {
    Shape::of::<Pipeline>(Templates::AreText)
        .expect("invariant: the schema derived from the model is a schema")
});

impl Document {
    /// Where a fault stands in the text.
    pub fn locate(&self, fault: Fault) -> LocatedFault {
        locate(&self.places, fault)
    }
}

/// Reads a text as far as it can be read.
pub fn read(text: &str) -> Read {
    let loaded = match load(text) {
        Ok(loaded) => loaded,
        Err(fault) => {
            let Place { line, column } = fault.place;
            let fault = LocatedFault {
                line,
                column,
                fault: Fault::new("", fault.message),
            };
            return Read {
                document: None,
                faults: vec![fault],
            };
        }
    };
    let places = loaded.places;
    let mut faults: Vec<LocatedFault> = loaded
        .faults
        .into_iter()
        .map(|(Place { line, column }, fault)| LocatedFault {
            line,
            column,
            fault,
        })
        .collect();
    let mut value = loaded.value;
    if !value.is_object() {
        let message = "a pipeline is wanted here: an object with \"name\" and \"steps\"";
        faults.push(locate(&places, Fault::new("", message)));
        return Read {
            document: None,
            faults,
        };
    }
    // What is faulty is left out and the rest looked at again: a default in its place may be all that was missing.
    for round in 0..4 {
        let found = SHAPE.faults(&value);
        if found.is_empty() {
            break;
        }
        for fault in found {
            mend(&mut value, &fault);
            if round == 0 {
                faults.push(locate(&places, fault));
            }
        }
    }
    let pipeline = match Pipeline::deserialize(&value) {
        Ok(pipeline) => pipeline,
        Err(_) if !faults.is_empty() => {
            return Read {
                document: None,
                faults,
            };
        }
        Err(error) => {
            faults.push(locate(&places, Fault::new("", error.to_string())));
            return Read {
                document: None,
                faults,
            };
        }
    };
    Read {
        document: Some(Document { pipeline, places }),
        faults,
    }
}

/// Takes a fault out of a document, or puts what is missing in.
fn mend(value: &mut Value, fault: &Fault) {
    if let Some(key) = fault
        .message
        .strip_prefix("the key \"")
        .and_then(|rest| rest.strip_suffix("\" is missing"))
    {
        let stand_in = match key {
            "steps" | "dependencies" => json!([]),
            "limit" => json!(1),
            // A name that no one can have written, so that nothing refers to it by chance.
            _ => json!(format!("unnamed{}", fault.pointer.replace('/', "-"))),
        };
        if let Some(Value::Object(object)) = value.pointer_mut(&fault.pointer) {
            object.entry(key).or_insert(stand_in);
        }
        return;
    }
    let is_required = matches!(pointer::split(&fault.pointer), Some((_, last)) if last == "name" || last == "connector_type");
    if is_required && value.pointer(&fault.pointer).is_some_and(Value::is_string) {
        // A name that does not fit its pattern: others may refer to it all the same.
        return;
    }
    pointer::remove(value, &fault.pointer);
}

fn locate(places: &Places, fault: Fault) -> LocatedFault {
    // Unknown and doubled keys are shown at the key, wrong values at the value.
    let about_key =
        fault.message.starts_with("unknown key") || fault.message.contains("is there twice");
    let Place { line, column } = if about_key {
        places.of(&fault.pointer)
    } else {
        places.of_value(&fault.pointer)
    };
    LocatedFault {
        line,
        column,
        fault,
    }
}
