//! Names as labels. Each new one is a series that Prometheus keeps for good, so that there is an end to them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// How many names of a kind have series of their own.
pub(crate) const MOST_NAMES: usize = 1_000;

/// What the others are counted under.
pub(crate) const OTHER: &str = "other";

/// The names that have been seen, up to [`MOST_NAMES`].
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashSet<String>>);

impl Names {
    /// The name itself, as the text format writes it, or [`OTHER`] if it comes too late.
    pub(crate) fn label(&self, name: &str) -> String {
        let name = escaped(name);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(&name) {
            return name;
        }
        if seen.len() >= MOST_NAMES {
            return OTHER.into();
        }
        seen.insert(name.clone());
        name
    }
}

/// prometheus-client writes labels as they are.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str(r"\n"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_a_number_are_others_and_those_before_stay() {
        let names = Names::default();
        for number in 0..MOST_NAMES {
            let name = format!("p{number}");
            assert_eq!(names.label(&name), name);
        }
        assert_eq!(names.label("late"), OTHER);
        assert_eq!(names.label("p7"), "p7");
        assert_eq!(names.label("late"), OTHER);
    }
}
