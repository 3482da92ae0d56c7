//! JSON as PostgreSQL can hold it: neither `text` nor `jsonb` has the character NUL.

use etl_store_sql::Result;
use serde::Serialize;

/// A value as JSON text, with U+FFFD in place of NUL.
///
/// Values that are JSON themselves stand in the text as strings, where every backslash is doubled. A text that really has a
/// backslash before `u0000` looks the same there and becomes `\ufffd`, too.
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
        // An odd number is an escape of this text. Half of an even number stands in a string of it, where it is the same again.
        let is_escape = backslashes % 4 != 0;
        clean.push_str(if is_escape { "ufffd" } else { NUL });
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

    #[test]
    fn a_nul_behind_backslashes_is_replaced_and_they_stay() {
        for backslashes in 0..6 {
            let text = format!("C:{}\0", "\\".repeat(backslashes));
            let clean = text.replace('\0', "\u{fffd}");
            let nested = etl_store_sql::json(&json!([text])).unwrap();
            let json = super::json(&json!([text, nested])).unwrap();
            let back: Vec<String> = serde_json::from_str(&json).unwrap();
            assert_eq!(back[0], clean);
            let nested: Vec<String> = serde_json::from_str(&back[1]).unwrap();
            assert_eq!(nested, [clean]);
        }
    }
}
