//! JSON as PostgreSQL can hold it: neither `text` nor `jsonb` has the character NUL.

use etl_store_sql::Result;
use serde::Serialize;

/// A value as JSON text, with U+FFFD in place of NUL.
///
/// Values that are JSON themselves stand in the text as strings, where the escape of a NUL has two backslashes. A text that really
/// has a backslash before `u0000` looks the same there and becomes `\ufffd`, too.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    etl_store_sql::json(value).map(without_nul)
}

fn without_nul(text: String) -> String {
    const NUL: &str = "u0000";
    if !text.contains("\\u0000") {
        return text;
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(NUL) {
        let (before, after) = rest.split_at(at);
        clean.push_str(before);
        let backslashes = before.len() - before.trim_end_matches('\\').len();
        clean.push_str(if matches!(backslashes, 1 | 2) {
            "ufffd"
        } else {
            NUL
        });
        rest = &after[NUL.len()..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn a_nul_is_replaced_wherever_it_stands() {
        let nested = etl_store_sql::json(&json!({ "a\0": ["\0b", "u0000"] })).unwrap();
        let text = super::json(&json!({ "direct": "x\0\0y", "nested": nested })).unwrap();
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["direct"], "x\u{fffd}\u{fffd}y");
        let nested: Value = serde_json::from_str(back["nested"].as_str().unwrap()).unwrap();
        assert_eq!(nested, json!({ "a\u{fffd}": ["\u{fffd}b", "u0000"] }));
        assert_eq!(super::json("plain").unwrap(), "\"plain\"");
    }
}
