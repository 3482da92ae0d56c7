//! What a scalar is: text, number, truth or nothing.

use saphyr_parser::{ScalarStyle, Tag};
use serde_json::{Number, Value};

use crate::model::Fault;

/// A scalar by the core schema (YAML 1.2.2, 10.3): quoted is text, plain is what it looks like, a tag says what it has to be.
pub(super) fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Fault> {
    let Some(tag) = tag else {
        return if style == ScalarStyle::Plain {
            plain(text)
        } else {
            Ok(Value::String(text.into()))
        };
    };
    // `!` alone: text, whatever it looks like.
    if (tag.handle.is_empty() || tag.handle == "!") && matches!(tag.suffix.as_str(), "" | "!") {
        return Ok(Value::String(text.into()));
    }
    if !tag.is_yaml_core_schema() {
        return Err(unsupported(tag));
    }
    let value = match tag.suffix.as_str() {
        "str" => return Ok(Value::String(text.into())),
        "int" | "float" | "bool" | "null" => plain(text)?,
        _ => return Err(unsupported(tag)),
    };
    let fits = match tag.suffix.as_str() {
        "int" => value.is_i64() || value.is_u64(),
        "float" => value.is_number(),
        "bool" => value.is_boolean(),
        _ => value.is_null(),
    };
    if fits {
        Ok(value)
    } else {
        let message = format!("{text:?} is tagged as {} and is none", tag.suffix);
        Err(Fault::new("", message))
    }
}

pub(super) fn unsupported(tag: &Tag) -> Fault {
    let name = if tag.is_yaml_core_schema() {
        format!("!!{}", tag.suffix)
    } else {
        format!("{}{}", tag.handle, tag.suffix)
    };
    Fault::new("", format!("the tag {name} is not supported")).hint("leave it out")
}

fn plain(text: &str) -> Result<Value, Fault> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = if let Some(hex) = radix(text, "0x", 16) {
        u64::from_str_radix(hex, 16).ok().map(Number::from)
    } else if let Some(octal) = radix(text, "0o", 8) {
        u64::from_str_radix(octal, 8).ok().map(Number::from)
    } else if is_decimal(unsigned) {
        let text = text.strip_prefix('+').unwrap_or(text);
        text.parse::<i64>()
            .map(Number::from)
            .or_else(|_| text.parse::<u64>().map(Number::from))
            .ok()
    } else if looks_like_float(unsigned)
        && let Ok(float) = text.parse::<f64>()
    {
        Number::from_f64(float)
    } else if matches!(
        unsigned,
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
    ) {
        None
    } else {
        return Ok(Value::String(text.into()));
    };
    number.map(Value::Number).ok_or_else(|| {
        Fault::new("", format!("the number {text} does not fit into 64 bits"))
            .hint("put it in quotes to have it as text")
    })
}

/// The digits after a prefix, if there are nothing but digits of this radix.
fn radix<'a>(text: &'a str, prefix: &str, radix: u32) -> Option<&'a str> {
    let digits = text.strip_prefix(prefix)?;
    (!digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))).then_some(digits)
}

fn is_decimal(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn looks_like_float(digits: &str) -> bool {
    digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
}
