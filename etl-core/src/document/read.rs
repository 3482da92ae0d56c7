//! A pipeline document read as far as it can be, so that one look finds every fault.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::finding::{About, Finding};
use super::places::{Place, Places, Spot};
use super::pointer;
use super::shape::{Shape, Templates};
use super::yaml::load;
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
    /// The parts that are not as they were written, by pointer.
    mended: HashSet<String>,
}

impl Read {
    fn nothing(faults: Vec<LocatedFault>) -> Self {
        Self {
            document: None,
            faults,
            mended: HashSet::new(),
        }
    }

    /// Whether a place is in a part that is not as it was written, so that what is wrong there was said already.
    pub(crate) fn is_mended(&self, pointer: &str) -> bool {
        let mut pointer = pointer;
        loop {
            if self.mended.contains(pointer) {
                return true;
            }
            match pointer.rsplit_once('/') {
                Some((parent, _)) => pointer = parent,
                None => return false,
            }
        }
    }
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
            return Read::nothing(vec![fault]);
        }
    };
    let faults: Vec<LocatedFault> = loaded
        .faults
        .into_iter()
        .map(|(Place { line, column }, fault)| LocatedFault {
            line,
            column,
            fault,
        })
        .collect();
    as_far_as_it_goes(loaded.value, loaded.places, faults)
}

/// Reads a document that came as JSON, which has no places to tell.
pub fn read_value(value: Value) -> Read {
    as_far_as_it_goes(value, Places::new(Spot::new(Place::START)), Vec::new())
}

fn as_far_as_it_goes(mut value: Value, mut places: Places, mut faults: Vec<LocatedFault>) -> Read {
    if !value.is_object() {
        let message = "a pipeline is wanted here: an object with \"name\" and \"steps\"";
        faults.push(locate(&places, Fault::new("", message)));
        return Read::nothing(faults);
    }
    let mut mended = HashSet::new();
    // What is faulty is mended and the rest looked at again: a default in its place may be all that was missing.
    for round in 0..4 {
        let found = SHAPE.findings(&value);
        if found.is_empty() {
            break;
        }
        for finding in found {
            mended.extend(mend(&mut value, &mut places, &finding));
            if round == 0 {
                faults.push(locate_finding(&places, finding));
            }
        }
    }
    match Pipeline::deserialize(&value) {
        Ok(pipeline) => Read {
            document: Some(Document { pipeline, places }),
            faults,
            mended,
        },
        Err(_) if !faults.is_empty() => Read::nothing(faults),
        Err(error) => {
            faults.push(locate(&places, Fault::new("", error.to_string())));
            Read::nothing(faults)
        }
    }
}

/// Makes a document as if a fault were not there, so that what follows from it is not taken for a fault of its own. Gives
/// the pointer of what is not as it was written.
fn mend(
    value: &mut Value,
    places: &mut Places,
    Finding { fault, about }: &Finding,
) -> Option<String> {
    let pointer = &fault.pointer;
    match about {
        About::MissingKey(key) => {
            let stand_in = match key.as_str() {
                "steps" | "dependencies" => json!([]),
                "limit" => json!(1),
                // A name that no one can have written, so that nothing refers to it by chance.
                _ => json!(format!("unnamed{}", pointer.replace('/', "-"))),
            };
            let object = value.pointer_mut(pointer)?.as_object_mut()?;
            object.entry(key).or_insert(stand_in);
            Some(format!("{pointer}/{key}"))
        }
        About::UnknownKey(meant) => {
            let (parent, key) = pointer::split(pointer)?;
            let object = value.pointer_mut(parent)?.as_object_mut()?;
            let unknown = object.remove(&key)?;
            if let Some(meant) = meant {
                object.entry(meant.as_str()).or_insert(unknown);
                places.also_known_as(parent, &key, meant);
            }
            None
        }
        About::Value => {
            let (parent, last) = pointer::split(pointer)?;
            match value.pointer_mut(parent)? {
                // A name that does not fit its pattern: others may refer to it all the same.
                Value::Object(object) => {
                    let is_name = last == "name" || last == "connector_type";
                    if is_name && object.get(&last).is_some_and(Value::is_string) {
                        return None;
                    }
                    object.remove(&last);
                }
                // Positions of the others must not move: faults name them.
                Value::Array(items) => {
                    let of_objects = ["steps", "on_success", "on_failure"]
                        .iter()
                        .any(|list| parent.ends_with(list));
                    let item = items.get_mut(last.parse::<usize>().ok()?)?;
                    *item = if of_objects { json!({}) } else { json!("") };
                }
                _ => return None,
            }
            Some(pointer.clone())
        }
    }
}

fn locate_finding(places: &Places, Finding { fault, about }: Finding) -> LocatedFault {
    // Unknown keys are shown at the key, wrong values at the value.
    let Place { line, column } = match about {
        About::UnknownKey(_) => places.of(&fault.pointer),
        About::Value | About::MissingKey(_) => places.of_value(&fault.pointer),
    };
    LocatedFault {
        line,
        column,
        fault,
    }
}

fn locate(places: &Places, fault: Fault) -> LocatedFault {
    let about = if fault.message.starts_with("unknown key") {
        About::UnknownKey(None)
    } else {
        About::Value
    };
    locate_finding(places, Finding { fault, about })
}
