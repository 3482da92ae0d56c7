//! The MiniJinja environment: strict, with fuel, without a way out.

use std::sync::LazyLock;

use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

/// The most bytes that one text may grow to while it is rendered.
pub(super) const MAX_RENDERED: usize = 1024 * 1024;
/// The most instructions of one rendering. A loop over 100,000 items fits.
const FUEL: u64 = 2_000_000;
/// How deep calls may nest.
const RECURSION: usize = 64;

/// The one environment. It is never changed, so sharing it shares nothing.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    // These make a large text of a small one by a number alone.
    for filter in ["indent", "format", "pprint", "safe", "escape", "e"] {
        environment.remove_filter(filter);
    }
    for function in ["debug", "namespace"] {
        environment.remove_global(function);
    }
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment
});

/// `replace` that refuses to make a text over the limit.
fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let times = text.matches(from).count();
    let grown = text.len().saturating_add(times.saturating_mul(to.len()));
    if grown > MAX_RENDERED {
        Err(too_large())
    } else {
        Ok(text.replace(from, to))
    }
}

/// `join` that refuses to make a text over the limit.
fn join(items: &Value, separator: Option<&str>) -> Result<String, Error> {
    let separator = separator.unwrap_or_default();
    let mut joined = String::new();
    for (at, item) in items.try_iter()?.enumerate() {
        if at > 0 {
            joined.push_str(separator);
        }
        match (item.kind(), item.as_str()) {
            (ValueKind::Undefined, _) => {
                return Err(Error::new(
                    ErrorKind::UndefinedError,
                    "an item to join is undefined",
                ));
            }
            (_, Some(text)) => joined.push_str(text),
            (_, None) => joined.push_str(&item.to_string()),
        }
        if joined.len() > MAX_RENDERED {
            return Err(too_large());
        }
    }
    Ok(joined)
}

pub(super) fn too_large() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        format!("the text grows over {MAX_RENDERED} bytes"),
    )
}
