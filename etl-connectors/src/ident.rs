//! Identifiers in SQL that we write ourselves: the one choke point.

use etl_core::model::StepError;

/// The longest name that is taken; databases allow less or not much more.
const MAX_BYTES: usize = 255;

/// A table's or column's name as an identifier in double quotes (SQL-92), whatever characters it has.
///
/// # Errors
/// For a name that is empty, longer than 255 bytes or has a control character.
pub(crate) fn sql_ident(name: &str) -> Result<String, StepError> {
    let fault = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_BYTES {
        "it is longer than 255 bytes"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(format!("\"{}\"", name.replace('"', "\"\"")));
    };
    let shown: String = name.chars().take(60).collect();
    Err(StepError::permanent(format!(
        "{shown:?} can't be the name of a table or column: {fault}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_ends_its_own_quotes() {
        for (name, expected) in [
            ("a", r#""a""#),
            (r#"a"; DROP TABLE t; --"#, r#""a""; DROP TABLE t; --""#),
            ("SELECT", r#""SELECT""#),
            ("ação 1", r#""ação 1""#),
        ] {
            assert_eq!(sql_ident(name).unwrap(), expected);
        }
        for bad in ["", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(sql_ident(bad).is_err(), "{bad:?}");
        }
    }
}
