//! One set of names for types as they are read and as they are written.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::shape::Shapes;

/// Where named shapes stand.
const SCHEMAS: &str = "#/components/schemas/";
/// What a type is called as it is read, if it is written otherwise.
const READ: &str = "Input";

/// The named shapes of both.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) schemas: Map<String, Value>,
    /// Those that have another name as they are read.
    renamed: BTreeSet<String>,
}

impl Merged {
    pub(super) fn of(mut shapes: Shapes) -> Self {
        let given = shapes.given.take_definitions(true);
        let taken = shapes.taken.take_definitions(true);
        let mut merged = Self {
            renamed: differing(&taken, &given),
            schemas: given,
        };
        for (name, mut shape) in taken {
            merged.point(&mut shape);
            let name = merged.name_of(&name).unwrap_or(name);
            merged.schemas.insert(name, shape);
        }
        for shape in merged.schemas.values_mut() {
            unlink(shape);
        }
        merged
    }

    /// Makes what is read refer to shapes as they are read.
    pub(super) fn point(&self, value: &mut Value) {
        each_reference(value, &mut |target| {
            let name = target.strip_prefix(SCHEMAS);
            if let Some(other) = name.and_then(|name| self.name_of(name)) {
                *target = format!("{SCHEMAS}{other}");
            }
        });
    }

    fn name_of(&self, name: &str) -> Option<String> {
        self.renamed.contains(name).then(|| format!("{name}{READ}"))
    }
}

/// Shapes of both that are not the same, and those that refer to such.
fn differing(taken: &Map<String, Value>, given: &Map<String, Value>) -> BTreeSet<String> {
    let both = || taken.iter().filter(|(name, _)| given.contains_key(*name));
    let mut found: BTreeSet<String> = both()
        .filter(|(name, shape)| given[*name] != **shape)
        .map(|(name, _)| name.clone())
        .collect();
    loop {
        let before = found.len();
        for (name, shape) in both() {
            let mut refers = false;
            each_reference(&mut shape.clone(), &mut |target| {
                let name = target.strip_prefix(SCHEMAS);
                refers |= name.is_some_and(|name| found.contains(name));
            });
            if refers {
                found.insert(name.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn each_reference(value: &mut Value, see: &mut impl FnMut(&mut String)) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" => see(target),
                    _ => each_reference(value, see),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_reference(item, see)),
        _ => {}
    }
}

/// Descriptions come from the code, whose links lead nowhere here.
fn unlink(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "description" => {
                        *text = text.replace("[`", "`").replace("`]", "`");
                    }
                    _ => unlink(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unlink),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shapes(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_leads_to_a_shape_of_two_kinds_is_of_two_kinds() {
        let leads = json!({ "items": { "$ref": "#/components/schemas/Step" } });
        let far = json!({ "$ref": "#/components/schemas/Pipeline" });
        let given = shapes(json!({
            "Step": { "type": "object", "required": ["name", "retry_count"] },
            "Pipeline": leads, "Stored": far, "Same": { "type": "string" },
        }));
        let taken = shapes(json!({
            "Step": { "type": "object", "required": ["name"] },
            "Pipeline": leads, "Stored": far, "Same": { "type": "string" }, "Only": far,
        }));
        let found: Vec<_> = differing(&taken, &given).into_iter().collect();
        assert_eq!(found, ["Pipeline", "Step", "Stored"]);
    }
}
