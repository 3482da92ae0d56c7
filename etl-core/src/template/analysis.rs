//! What a template names, found without rendering it.

use std::collections::BTreeSet;

/// What a template names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Steps, as `steps.X` or `steps['X']`.
    pub(super) steps: BTreeSet<String>,
    /// Whether `steps` is used in a way that does not tell which.
    pub(super) dynamic_steps: bool,
    /// Everything else at the top: `params`, `job`, `item`, `index`, and what does not exist.
    pub(super) roots: BTreeSet<String>,
}

impl Names {
    pub(super) fn extend(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.dynamic_steps |= other.dynamic_steps;
        self.roots.extend(other.roots);
    }

    /// From the names that MiniJinja finds undeclared, with their attributes, after [`quoted_steps`].
    pub(super) fn of(undeclared: impl IntoIterator<Item = String>, quoted: &[String]) -> Self {
        let mut names = Self::default();
        for path in undeclared {
            let mut parts = path.split('.');
            let root = parts.next().unwrap_or_default();
            match (root, parts.next()) {
                ("steps", Some(step)) => {
                    let stands_for = step
                        .strip_prefix(QUOTED)
                        .and_then(|at| at.parse::<usize>().ok());
                    let step = stands_for
                        .and_then(|at| quoted.get(at))
                        .map_or(step, String::as_str);
                    names.steps.insert(step.to_owned());
                }
                ("steps", None) => names.dynamic_steps = true,
                _ => {
                    names.roots.insert(root.to_owned());
                }
            }
        }
        names
    }
}

const QUOTED: &str = "__quoted_";

/// The source with each `steps['name']` as `steps.__quoted_N`, which MiniJinja can follow, and the names by N.
pub(super) fn quoted_steps(source: &str) -> (String, Vec<String>) {
    let (mut plain, mut names) = (String::with_capacity(source.len()), Vec::new());
    let mut rest = source;
    while let Some(at) = rest.find("steps") {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        let after = &from["steps".len()..];
        match subscript(after) {
            Some((name, rest_after))
                if !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.') =>
            {
                plain.push_str(&format!("steps.{QUOTED}{}", names.len()));
                names.push(name.to_owned());
                rest = rest_after;
            }
            _ => {
                plain.push_str("steps");
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    (plain, names)
}

/// `['name']` at the start of a text, and what follows it.
fn subscript(text: &str) -> Option<(&str, &str)> {
    let inside = text.trim_start().strip_prefix('[')?.trim_start();
    let quote = inside.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (name, after) = inside[1..].split_once(quote)?;
    let after = after.trim_start().strip_prefix(']')?;
    (!name.contains('\\')).then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_names_are_found_and_computed_ones_are_not() {
        let (plain, names) = quoted_steps(
            "{{ steps['per-fund'].output ~ steps[ \"b\" ].status ~ steps[params.x] }}",
        );
        assert_eq!(names, ["per-fund", "b"]);
        assert_eq!(
            plain,
            "{{ steps.__quoted_0.output ~ steps.__quoted_1.status ~ steps[params.x] }}"
        );
    }
}
