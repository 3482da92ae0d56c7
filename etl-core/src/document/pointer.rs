//! JSON pointers (RFC 6901).

use serde_json::Value;

/// One part of a pointer, escaped.
pub(crate) fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// One part of a pointer as it was before escaping.
pub(crate) fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// Everything but the last part, and the last part; `None` for the whole document.
pub(crate) fn split(pointer: &str) -> Option<(&str, String)> {
    pointer
        .rsplit_once('/')
        .map(|(parent, last)| (parent, unescape(last)))
}

/// Takes what a pointer leads to out of a document. Whether there was something.
pub(crate) fn remove(document: &mut Value, pointer: &str) -> bool {
    let Some((parent, last)) = split(pointer) else {
        return false;
    };
    match document.pointer_mut(parent) {
        Some(Value::Object(object)) => object.remove(&last).is_some(),
        Some(Value::Array(items)) => match last.parse::<usize>() {
            // Positions of the others must not move: faults name them.
            Ok(at) if at < items.len() => {
                items[at] = Value::Null;
                true
            }
            _ => false,
        },
        _ => false,
    }
}
