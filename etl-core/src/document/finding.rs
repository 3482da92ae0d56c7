//! Faults of shape, with what they are about.

use std::collections::BTreeSet;

use super::pointer::{escape, split};
use crate::model::{Fault, nearest};

/// A fault of shape, and what can be done so that one look finds the others too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) fault: Fault,
    pub(super) about: About,
}

/// What a fault of shape is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// The value that the pointer leads to.
    Value,
    /// The key that the pointer ends with: nobody knows it. With the one that was probably meant.
    UnknownKey(Option<String>),
    /// A key that is not there.
    MissingKey(String),
}

impl Finding {
    pub(super) fn value(fault: Fault) -> Self {
        Self {
            fault,
            about: About::Value,
        }
    }
}

/// That nobody knows this key of the object at `pointer`.
pub(super) fn unknown_key(pointer: &str, key: &str, known: &[String]) -> Finding {
    let fault = Fault::new(
        format!("{pointer}/{}", escape(key)),
        format!("unknown key {key:?}"),
    );
    let near = nearest(key, known.iter().map(String::as_str));
    let fault = match near {
        Some(near) => fault.did_you_mean(Some(near)),
        None if known.is_empty() => fault,
        None => fault.hint(format!("known keys: {}", known.join(", "))),
    };
    Finding {
        fault,
        about: About::UnknownKey(near.map(str::to_owned)),
    }
}

/// Takes out what is missing only because it is misspelt: that is told at the misspelt key.
pub(super) fn forget_meant(findings: &mut Vec<Finding>) {
    let meant: BTreeSet<(String, String)> = findings.iter().filter_map(meant_key).collect();
    findings.retain(|Finding { fault, about }| match about {
        About::MissingKey(key) => !meant.contains(&(fault.pointer.clone(), key.clone())),
        About::Value | About::UnknownKey(_) => true,
    });
}

/// The object and the key that an unknown key was probably meant for.
fn meant_key(finding: &Finding) -> Option<(String, String)> {
    let About::UnknownKey(Some(meant)) = &finding.about else {
        return None;
    };
    let (object, _) = split(&finding.fault.pointer)?;
    Some((object.to_owned(), meant.clone()))
}
