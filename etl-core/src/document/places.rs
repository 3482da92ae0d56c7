//! Where the parts of a document stand in its text.

use std::collections::HashMap;

use super::pointer::unescape;

/// A place in a text, counted from 1; columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// Where keys and values stand.
#[derive(Debug, Clone)]
pub struct Places(Spot);

/// Where a value stands, with its key and its parts. A tree and not a map of pointers: in a map a long key would be kept
/// once for each value below it.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) key: Option<Place>,
    pub(super) value: Place,
    pub(super) parts: Parts,
}

#[derive(Debug, Clone)]
pub(super) enum Parts {
    None,
    List(Vec<Spot>),
    Object(HashMap<String, Spot>),
}

impl Places {
    pub(super) const fn new(document: Spot) -> Self {
        Self(document)
    }

    /// Where the key of this entry stands, or else its value, or else the nearest that it is part of.
    pub fn of(&self, pointer: &str) -> Place {
        let (spot, _) = self.nearest(pointer);
        spot.key.unwrap_or(spot.value)
    }

    /// Where this value stands, or else the nearest that it is part of.
    pub fn of_value(&self, pointer: &str) -> Place {
        match self.nearest(pointer) {
            (spot, true) => spot.value,
            (spot, false) => spot.key.unwrap_or(spot.value),
        }
    }

    /// Lets an entry be found under another key too.
    pub(super) fn also_known_as(&mut self, object: &str, key: &str, other: &str) {
        let mut spot = &mut self.0;
        for part in object.split('/').skip(1) {
            let next = match &mut spot.parts {
                Parts::None => None,
                Parts::List(items) => part.parse().ok().and_then(|at: usize| items.get_mut(at)),
                Parts::Object(entries) => entries.get_mut(&unescape(part)),
            };
            match next {
                Some(next) => spot = next,
                None => return,
            }
        }
        if let Parts::Object(entries) = &mut spot.parts
            && let Some(entry) = entries.get(key).cloned()
        {
            entries.entry(other.to_owned()).or_insert(entry);
        }
    }

    /// The deepest spot on the way to a value, and whether it is the value itself.
    fn nearest(&self, pointer: &str) -> (&Spot, bool) {
        let mut spot = &self.0;
        for part in pointer.split('/').skip(1) {
            let next = match &spot.parts {
                Parts::None => None,
                Parts::List(items) => part.parse().ok().and_then(|at: usize| items.get(at)),
                Parts::Object(entries) => entries.get(&unescape(part)),
            };
            match next {
                Some(next) => spot = next,
                None => return (spot, false),
            }
        }
        (spot, true)
    }
}

impl Spot {
    pub(super) const fn new(value: Place) -> Self {
        Self {
            key: None,
            value,
            parts: Parts::None,
        }
    }
}
