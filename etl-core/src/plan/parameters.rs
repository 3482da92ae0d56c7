//! A job's parameters by the pipeline's JSON Schema.

use serde_json::{Map, Value};

use crate::document::{Shape, Templates};
use crate::model::{Fault, MAX_JSON_BYTES, nearest};

/// Fills in defaults and checks.
///
/// # Errors
/// Every fault: what does not fit the schema, what it does not know, and more than 256 KiB.
pub fn parameters(
    schema: Option<&Map<String, Value>>,
    given: Map<String, Value>,
) -> Result<Value, Vec<Fault>> {
    let Some(schema) = schema else {
        let refuse =
            |name: &String| Fault::new(format!("/{name}"), "this pipeline takes no parameters");
        let faults: Vec<Fault> = given.keys().map(refuse).collect();
        return if faults.is_empty() {
            Ok(Value::Object(given))
        } else {
            Err(faults)
        };
    };
    let mut value = Value::Object(given);
    let schema = Value::Object(schema.clone());
    fill_in(&schema, &mut value);
    let mut faults = unknown(&schema, &value);
    match Shape::new(schema, Templates::AreText) {
        Ok(shape) => faults.extend(shape.faults(&value)),
        Err(fault) => faults.push(Fault::new(
            "",
            format!("the pipeline's parameter schema is wrong: {fault}"),
        )),
    }
    let size = value.to_string().len();
    if size > MAX_JSON_BYTES {
        faults.push(Fault::new(
            "",
            format!("{size} bytes of parameters are over the limit of {MAX_JSON_BYTES}"),
        ));
    }
    if faults.is_empty() {
        Ok(value)
    } else {
        Err(faults)
    }
}

/// Reads a parameter from a command line: as JSON where the schema asks for something other than text, else as it stands.
pub fn parse_parameter(schema: Option<&Map<String, Value>>, name: &str, text: &str) -> Value {
    let property = schema
        .and_then(|schema| schema.get("properties"))
        .and_then(|properties| properties.get(name));
    let wants_text = match property.and_then(|property| property.get("type")) {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => {
            property
                .and_then(|property| property.get("enum"))
                .and_then(Value::as_array)
                .is_none_or(|options| options.iter().any(|option| option == text))
                && property.is_none_or(|property| {
                    property.get("type").is_none() && serde_json::from_str::<Value>(text).is_err()
                })
        }
    };
    if wants_text {
        return Value::String(text.into());
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into()))
}

/// Puts in what the schema has a `default` for, also within objects.
fn fill_in(schema: &Value, value: &mut Value) {
    let (Some(properties), Some(object)) = (
        schema.get("properties").and_then(Value::as_object),
        value.as_object_mut(),
    ) else {
        return;
    };
    for (name, property) in properties {
        if let (false, Some(default)) = (object.contains_key(name), property.get("default")) {
            object.insert(name.clone(), default.clone());
        }
        if let Some(inner) = object.get_mut(name) {
            fill_in(property, inner);
        }
    }
}

/// A name that the schema does not have is a typing mistake, unless the schema says that others are welcome.
fn unknown(schema: &Value, value: &Value) -> Vec<Fault> {
    if schema.get("additionalProperties").is_some() || schema.get("patternProperties").is_some() {
        return Vec::new();
    }
    let known: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let given = value.as_object().into_iter().flat_map(Map::keys);
    given
        .filter(|name| !known.contains(&name.as_str()))
        .map(|name| {
            let fault = Fault::new(format!("/{name}"), format!("unknown parameter {name:?}"));
            match nearest(name, known.iter().copied()) {
                Some(near) => fault.did_you_mean(Some(near)),
                None => fault.hint(format!("known parameters: {}", known.join(", "))),
            }
        })
        .collect()
}
