//! JSON writes characters beyond U+FFFF as two escapes; YAML knows only single ones. What JSON documents need is joined here
//! before the parser sees it.

use std::borrow::Cow;

use super::places::Place;

/// How many characters shorter a joined escape is: `\ud83d\ude00` becomes `\U0001f600`.
const SHORTER: usize = 2;

/// Where escapes were joined, so that the places after them in the same line can be given as they are in the text.
#[derive(Debug, Default)]
pub(super) struct Joined(Vec<Place>);

impl Joined {
    /// The place in the text as it was.
    pub(super) fn original(&self, place: Place) -> Place {
        // They are in the order of the text.
        let until = |place: Place| self.0.partition_point(|joined| *joined < place);
        let before = until(place) - until(Place { column: 0, ..place });
        Place {
            column: place.column + before * SHORTER,
            ..place
        }
    }
}

/// A JSON document with each pair of surrogate escapes as one escape. Any other text is given back as it is: outside of
/// JSON the same characters may stand for themselves.
pub(super) fn join(text: &str) -> (Cow<'_, str>, Joined) {
    let is_json = text.trim_start().starts_with(['{', '[']);
    if !is_json || !(text.contains("\\ud") || text.contains("\\uD")) {
        return (Cow::Borrowed(text), Joined::default());
    }
    let (mut out, mut joined) = (String::with_capacity(text.len()), Vec::new());
    let (mut line, mut column) = (1, 1);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match pair(rest) {
            Some(character) => {
                joined.push(Place { line, column });
                out.push_str(&format!("\\U{:08x}", u32::from(character)));
                column += 10;
                12
            }
            // The escaped character goes with its backslash, so that `\\ud83d` is no escape.
            None if first == '\\' => {
                let escaped = rest.chars().nth(1).map_or(0, char::len_utf8);
                out.push_str(&rest[..=escaped]);
                column += 2;
                1 + escaped
            }
            None => {
                out.push(first);
                column += 1;
                if first == '\n' {
                    (line, column) = (line + 1, 1);
                }
                first.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    (Cow::Owned(out), Joined(joined))
}

/// The character that two escapes at the start of a text stand for.
fn pair(text: &str) -> Option<char> {
    let high = u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    let low = u32::from_str_radix(text.get(6..)?.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    let is_pair = (0xD800..0xDC00).contains(&high) && (0xDC00..0xE000).contains(&low);
    is_pair.then(|| char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)))?
}
