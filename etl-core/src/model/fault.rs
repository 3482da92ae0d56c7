//! What is wrong with a document, where, and what to do.

use serde::Serialize;

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// Where: a JSON pointer (RFC 6901) into the document.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to do, where it is known.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault at this place.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
            hint: None,
        }
    }

    /// The same fault with what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault with the nearest known word, if one is near.
    pub fn did_you_mean(mut self, word: Option<&str>) -> Self {
        if let Some(word) = word {
            self.hint = Some(format!("did you mean {word:?}?"));
        }
        self
    }

    /// The same fault below another place.
    pub fn below(mut self, pointer: &str) -> Self {
        self.pointer.insert_str(0, pointer);
        self
    }
}

/// A word longer than this is not looked for: comparing costs the product of the lengths.
const LONGEST: usize = 64;

/// The known word that is nearest to a misspelt one, if any is near enough to be meant. Of several the first by alphabet.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let bound = (length / 3).clamp(1, 4);
    known
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= bound)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_if_it_is_near_enough() {
        let known = || ["schedule", "steps", "tags", "dependencies"].into_iter();
        for (word, expected) in [
            ("scheduel", Some("schedule")),
            ("dependancies", Some("dependencies")),
            ("step", Some("steps")),
            ("tag", Some("tags")),
            ("retries", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known()), expected, "{word:?}");
        }
        assert_eq!(nearest(&"s".repeat(1_000_000), known()), None);
    }
}
