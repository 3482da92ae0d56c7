//! What an expression gives, as JSON of a bounded size: a list may repeat another one a billion times in a few characters.

use minijinja::Value as Given;
use minijinja::value::ValueKind;
use serde_json::{Map, Value};

use super::env::MAX_RENDERED;

/// The most bytes that the value of an expression may have, about. The outputs of a whole fan-out pass through here.
const MAX_VALUE: usize = 64 * 1024 * 1024;
/// How deep a value may nest.
const MAX_DEPTH: usize = 128;
/// What any value counts for, beside its text: what it takes in memory.
const EACH: usize = 32;

/// The value as JSON.
pub(super) fn to_json(given: &Given) -> Result<Value, String> {
    if given.is_undefined() {
        return Err("the expression gives nothing: what it names is undefined".into());
    }
    if given.as_str().is_some_and(|text| text.len() > MAX_RENDERED) {
        return Err(format!("the text grows over {MAX_RENDERED} bytes"));
    }
    converted(given, 0, &mut { MAX_VALUE })
}

fn converted(given: &Given, depth: usize, left: &mut usize) -> Result<Value, String> {
    let spend = |left: &mut usize, bytes: usize| {
        let rest = left.checked_sub(EACH + bytes);
        *left = rest.ok_or_else(|| format!("the value grows over {MAX_VALUE} bytes"))?;
        Ok::<(), String>(())
    };
    spend(left, given.as_str().map_or(0, str::len))?;
    if depth > MAX_DEPTH {
        return Err(format!("the value nests more than {MAX_DEPTH} deep"));
    }
    match given.kind() {
        ValueKind::Undefined => Err("a part of the value is undefined".into()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = given.try_iter().map_err(|error| error.to_string())?;
            let items = items.map(|item| converted(&item, depth + 1, left));
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
        ValueKind::Map => {
            let mut object = Map::new();
            for key in given.try_iter().map_err(|error| error.to_string())? {
                let value = given.get_item(&key).map_err(|error| error.to_string())?;
                let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                spend(left, key.len())?;
                object.insert(key, converted(&value, depth + 1, left)?);
            }
            Ok(Value::Object(object))
        }
        kind => match serde_json::to_value(given) {
            Ok(Value::Null) if kind == ValueKind::Number => {
                Err(format!("{given} is no JSON number"))
            }
            Ok(value) => Ok(value),
            Err(error) => Err(format!("what the expression gives is no JSON: {error}")),
        },
    }
}
