//! Where the code in a template text is: the same parts that MiniJinja's lexer sees (compiler/lexer.rs of version 3, default
//! delimiters). What it says is relied on only for texts that MiniJinja accepts too.

/// A part of a template text that is code, without its braces and whitespace marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code<'a> {
    /// `{{ … }}`
    Expression(&'a str),
    /// `{% … %}`
    Statement(&'a str),
}

impl<'a> Code<'a> {
    pub(super) const fn text(self) -> &'a str {
        match self {
            Self::Expression(text) | Self::Statement(text) => text,
        }
    }
}

/// What a template text is made of.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) code: Vec<Code<'a>>,
    /// Whether there is anything beside the code: plain text, a comment, a raw block, or code without an end.
    pub(super) has_text: bool,
}

/// The code of a template text, in order.
pub(super) fn scan(text: &str) -> Parts<'_> {
    let (mut parts, mut rest, mut balance) = (Parts::default(), text, 0);
    while let Some(at) = start(rest) {
        parts.has_text |= at > 0;
        let kind = rest.as_bytes()[at + 1];
        let inside = &rest[at + 2..];
        let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
        let raw = Some(inside)
            .filter(|_| kind == b'%')
            .and_then(|inside| tag(inside, "raw"));
        let after = if kind == b'#' {
            parts.has_text = true;
            inside.find("#}").map(|end| &inside[end + 2..])
        } else if let Some(raw) = raw {
            parts.has_text = true;
            after_raw(raw)
        } else {
            let close = if kind == b'{' { "}}" } else { "%}" };
            end(inside, close, &mut balance).map(|end| {
                let code = &inside[..end];
                let code = code.strip_suffix(['-', '+']).unwrap_or(code);
                parts.code.push(if kind == b'{' {
                    Code::Expression(code)
                } else {
                    Code::Statement(code)
                });
                &inside[end + 2..]
            })
        };
        match after {
            Some(after) => rest = after,
            None => {
                parts.has_text = true;
                return parts;
            }
        }
    }
    parts.has_text |= !rest.is_empty();
    parts
}

/// Calls `each` with every stretch of code that is no string literal, and with the literals, marked as such.
pub(super) fn stretches<'a>(code: &'a str, mut each: impl FnMut(&'a str, bool)) {
    let mut rest = code;
    while let Some(at) = rest.find(['\'', '"']) {
        let (before, literal) = rest.split_at(at);
        each(before, false);
        let length = literal_length(literal).unwrap_or(literal.len());
        each(&literal[..length], true);
        rest = &literal[length..];
    }
    each(rest, false);
}

/// Where the next `{{`, `{%` or `{#` is.
fn start(text: &str) -> Option<usize> {
    let pairs = text.as_bytes().windows(2);
    pairs
        .enumerate()
        .find(|(_, pair)| matches!(pair, [b'{', b'{' | b'%' | b'#']))
        .map(|(at, _)| at)
}

/// Where code ends: at `close` outside of strings and brackets. The count of brackets runs on from part to part.
fn end(code: &str, close: &str, balance: &mut i64) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &code[at..];
        if *balance == 0 && rest.starts_with(close) {
            return Some(at);
        }
        let next = rest.chars().next()?;
        match next {
            '(' | '[' | '{' => *balance += 1,
            ')' | ']' | '}' => *balance -= 1,
            '\'' | '"' => {
                at += literal_length(rest)?;
                continue;
            }
            _ => {}
        }
        at += next.len_utf8();
    }
}

/// How long the string literal at the start of a text is, with its quotes.
fn literal_length(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, next)) = chars.next() {
        if next == '\\' {
            chars.next()?;
        } else if next == quote {
            return Some(at + next.len_utf8());
        }
    }
    None
}

/// What follows the rest of a tag that consists of a name alone.
fn tag<'a>(inside: &'a str, name: &str) -> Option<&'a str> {
    let ascii = |c: char| c.is_ascii_whitespace();
    let after = inside.trim_start_matches(ascii).strip_prefix(name)?;
    let after = after.trim_start_matches(ascii);
    after
        .strip_prefix(['-', '+'])
        .unwrap_or(after)
        .strip_prefix("%}")
}

fn after_raw(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find("{%")? + 2..];
        let inside = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        if let Some(after) = tag(inside, "endraw") {
            return Some(after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_in_strings_comments_and_raw_blocks_are_no_code() {
        let text = "a {{ '}}{{' ~ x['{%'] }} {# {{ no }} #} {% raw %}{{ no {% no %}{% endraw %}{%- if {'a': {}} -%}";
        let parts = scan(text);
        assert!(parts.has_text);
        assert_eq!(
            parts.code,
            [
                Code::Expression(" '}}{{' ~ x['{%'] "),
                Code::Statement(" if {'a': {}} "),
            ]
        );
    }

    #[test]
    fn a_text_that_is_all_code_has_no_text() {
        assert!(!scan("{{ a }}{{ b }}").has_text);
        assert!(scan("{{ a }} ").has_text);
        assert!(scan("{{ a").has_text);
        assert!(scan("{#}").has_text);
    }

    #[test]
    fn string_literals_are_told_from_code() {
        let mut seen = Vec::new();
        stretches(r#"a ~ 'it\'s' ~ "b""#, |part, is_literal| {
            seen.push((part, is_literal));
        });
        assert_eq!(
            seen,
            [
                ("a ~ ", false),
                (r"'it\'s'", true),
                (" ~ ", false),
                ("\"b\"", true),
                ("", false)
            ]
        );
    }
}
