//! What a template names, found without rendering it.

use std::collections::BTreeSet;

use super::scan::stretches;

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

/// Code with each `steps['name']` as `steps.__quoted_N`, which MiniJinja can follow. The names are added to `names`.
pub(super) fn quoted_steps(code: &str, names: &mut Vec<String>) -> String {
    let mut plain = String::with_capacity(code.len());
    // How much of the code has been taken, which may be more than the stretches so far: a name is a literal.
    let (mut taken, mut at) = (0, 0);
    stretches(code, |part, is_literal| {
        let end = at + part.len();
        let mut from = at;
        at = end;
        while !is_literal && let Some(found) = code[from.max(taken).min(end)..end].find("steps") {
            let start = from.max(taken) + found;
            from = start + "steps".len();
            if let Some((name, after)) = subscript(&code[from..])
                && is_root(&code[..start])
            {
                plain.push_str(&code[taken..start]);
                plain.push_str(&format!("steps.{QUOTED}{}", names.len()));
                names.push(name.to_owned());
                taken = code.len() - after.len();
            }
        }
    });
    plain.push_str(&code[taken..]);
    plain
}

/// Whether what follows is a name of its own: no part of a longer name and no attribute.
fn is_root(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        && !before.trim_end().ends_with('.')
}

/// `['name']` at the start of a text, and what follows it.
fn subscript(text: &str) -> Option<(&str, &str)> {
    let inside = text.trim_start().strip_prefix('[')?.trim_start();
    let quote = inside.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (name, after) = inside[1..].split_once(quote)?;
    let after = after.trim_start().strip_prefix(']')?;
    (!name.contains('\\')).then_some((name, after))
}

/// The names that code uses as filters (after `|`) and as tests (after `is`), each once.
pub(super) fn filters_and_tests(code: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let (mut filters, mut tests) = (BTreeSet::new(), BTreeSet::new());
    stretches(code, |part, is_literal| {
        if is_literal {
            return;
        }
        for after in part.split('|').skip(1) {
            filters.extend(word(after).map(|(name, _)| name));
        }
        let mut rest = part;
        let mut after_dot = false;
        while let Some(first) = rest.chars().next() {
            let Some((name, after)) = word(rest).filter(|_| !first.is_whitespace()) else {
                after_dot = first == '.' || (after_dot && first.is_whitespace());
                rest = &rest[first.len_utf8()..];
                continue;
            };
            if name == "is" && !after_dot {
                let tested = match word(after) {
                    Some(("not", after)) => word(after),
                    other => other,
                };
                tests.extend(tested.map(|(name, _)| name));
            }
            (rest, after_dot) = (after, false);
        }
    });
    (filters, tests)
}

/// The identifier at the start of a text, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts.then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_names_are_found_and_computed_ones_are_not() {
        let mut names = Vec::new();
        let plain = quoted_steps(
            " steps['per-fund'].output ~ steps[ \"b\" ].status ~ steps[params.x] ~ params.steps['c'] ~ \"steps['d']\" ",
            &mut names,
        );
        assert_eq!(names, ["per-fund", "b"]);
        assert_eq!(
            plain,
            " steps.__quoted_0.output ~ steps.__quoted_1.status ~ steps[params.x] ~ params.steps['c'] ~ \"steps['d']\" "
        );
    }

    #[test]
    fn filters_and_tests_are_found_outside_of_strings() {
        let (filters, tests) = filters_and_tests(
            "a|upper | default('|no is never') ~ (b is defined) ~ c is not none ~ d.is.even ~ e is  odd",
        );
        assert_eq!(
            filters.into_iter().collect::<Vec<_>>(),
            ["default", "upper"]
        );
        assert_eq!(
            tests.into_iter().collect::<Vec<_>>(),
            ["defined", "none", "odd"]
        );
    }
}
