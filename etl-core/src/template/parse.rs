//! A JSON value whose texts may be templates.

use std::collections::BTreeSet;
use std::sync::Arc;

use minijinja::{Environment, Error, ErrorKind, Expression};
use serde_json::Value;

use super::analysis::{Names, filters_and_tests, quoted_steps};
use super::env::ENVIRONMENT;
use super::scan::{Code, scan};
use crate::document::escape;

/// The longest template text, in bytes. A longer text with `{{` in it is a document of its own and belongs in a file.
const MAX_TEMPLATE: usize = 64 * 1024;
/// The statements that a template may use. The others keep state, and with state a text can double at each line.
const STATEMENTS: [&str; 10] = [
    "if", "elif", "else", "endif", "for", "endfor", "raw", "endraw", "break", "continue",
];

/// A JSON value whose texts may be templates, checked. Clones share it.
#[derive(Debug, Clone)]
pub struct Template(pub(super) Arc<Parsed>);

#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) node: Node,
    names: Names,
}

#[derive(Debug)]
pub(super) enum Node {
    /// No template anywhere below: rendering gives this very value.
    Literal(Arc<Value>),
    /// One single `{{ expression }}`: the expression's own type is kept.
    Expression(Box<Expression<'static, 'static>>),
    /// Text with templates in it: gives text.
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// What is wrong with a template, before it is ever rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFault {
    /// JSON pointer (RFC 6901) below the value that was parsed.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

impl Template {
    /// Checks every text of a value.
    ///
    /// # Errors
    /// Every fault, with its place.
    pub fn parse(value: &Value) -> Result<Self, Vec<TemplateFault>> {
        let (mut names, mut faults) = (Names::default(), Vec::new());
        let node = node(value, &mut String::new(), &mut names, &mut faults);
        if faults.is_empty() {
            Ok(Self(Arc::new(Parsed { node, names })))
        } else {
            Err(faults)
        }
    }

    /// Whether there is no template anywhere in it.
    pub fn is_literal(&self) -> bool {
        matches!(self.0.node, Node::Literal(_))
    }

    /// Whether it is one single `{{ expression }}`, so that it may give anything; any other text with templates gives text.
    pub fn is_expression(&self) -> bool {
        matches!(self.0.node, Node::Expression(_))
    }

    /// The steps that it names.
    pub fn steps(&self) -> &BTreeSet<String> {
        &self.0.names.steps
    }

    /// Whether it uses `steps` in a way that does not tell which step is meant, such as `steps[params.name]`.
    pub fn has_dynamic_steps(&self) -> bool {
        self.0.names.dynamic_steps
    }

    /// The names at the top that it uses, beside `steps`.
    pub fn roots(&self) -> &BTreeSet<String> {
        &self.0.names.roots
    }

    /// Whether it depends on the item of a fan-out.
    pub fn uses_item(&self) -> bool {
        self.roots().contains("item") || self.roots().contains("index")
    }
}

fn node(
    value: &Value,
    pointer: &mut String,
    names: &mut Names,
    faults: &mut Vec<TemplateFault>,
) -> Node {
    match value {
        Value::String(text) if is_template(text) => match parse_text(text, names) {
            Ok(node) => node,
            Err(message) => {
                faults.push(TemplateFault {
                    pointer: pointer.clone(),
                    message,
                });
                Node::Literal(Arc::new(Value::Null))
            }
        },
        Value::Array(items) => {
            let mut nodes = Vec::with_capacity(items.len());
            for (at, item) in items.iter().enumerate() {
                nodes.push(within(pointer, &at.to_string(), |pointer| {
                    node(item, pointer, names, faults)
                }));
            }
            if nodes.iter().all(|node| matches!(node, Node::Literal(_))) {
                return Node::Literal(Arc::new(value.clone()));
            }
            Node::List(nodes)
        }
        Value::Object(fields) => {
            let mut nodes = Vec::with_capacity(fields.len());
            for (key, field) in fields {
                let field = within(pointer, key, |pointer| node(field, pointer, names, faults));
                nodes.push((key.clone(), field));
            }
            if nodes
                .iter()
                .all(|(_, node)| matches!(node, Node::Literal(_)))
            {
                return Node::Literal(Arc::new(value.clone()));
            }
            Node::Object(nodes)
        }
        literal => Node::Literal(Arc::new(literal.clone())),
    }
}

pub(super) fn within<T>(pointer: &mut String, key: &str, then: impl FnOnce(&mut String) -> T) -> T {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&escape(key));
    let result = then(pointer);
    pointer.truncate(length);
    result
}

fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

fn parse_text(text: &str, names: &mut Names) -> Result<Node, String> {
    if text.len() > MAX_TEMPLATE {
        return Err(format!(
            "a template of {} bytes is over the limit of {MAX_TEMPLATE}",
            text.len()
        ));
    }
    let parts = scan(text.trim());
    let analyser = Environment::empty();
    if let ([Code::Expression(expression)], false) = (&parts.code[..], parts.has_text) {
        let compiled = ENVIRONMENT
            .compile_expression_owned((*expression).to_owned())
            .map_err(|error| explain(&error, expression))?;
        known_words(expression)?;
        let mut quoted = Vec::new();
        let plain = quoted_steps(expression, &mut quoted);
        let found = analyser
            .compile_expression(&plain)
            .map_err(|error| explain(&error, &plain))?
            .undeclared_variables(true);
        names.extend(Names::of(without_functions(found), &quoted));
        return Ok(Node::Expression(Box::new(compiled)));
    }
    analyser
        .template_from_str(text)
        .map_err(|error| explain(&error, text))?;
    let (mut quoted, mut plain) = (Vec::new(), String::with_capacity(text.len()));
    for code in parts.code {
        if let Code::Statement(statement) = code {
            let word = first_word(statement);
            if !STATEMENTS.contains(&word) {
                return Err(format!(
                    "the statement {word:?} is not supported; known are {}",
                    STATEMENTS.join(", ")
                ));
            }
        }
        known_words(code.text())?;
        let (open, close) = match code {
            Code::Expression(_) => ("{{ ", " }}"),
            Code::Statement(_) => ("{% ", " %}"),
        };
        plain.push_str(open);
        plain.push_str(&quoted_steps(code.text(), &mut quoted));
        plain.push_str(close);
    }
    let found = analyser
        .template_from_str(&plain)
        .map_err(|error| explain(&error, &plain))?
        .undeclared_variables(true);
    names.extend(Names::of(without_functions(found), &quoted));
    Ok(Node::Text(text.to_owned()))
}

/// The word that a statement begins with.
fn first_word(statement: &str) -> &str {
    let statement = statement.trim_start();
    let end = statement.find(|c: char| !c.is_alphanumeric() && c != '_');
    &statement[..end.unwrap_or(statement.len())]
}

/// MiniJinja looks filters and tests up when it renders. An unknown one is told here instead, by asking for it.
fn known_words(code: &str) -> Result<(), String> {
    let (filters, tests) = filters_and_tests(code);
    let is_unknown = |expression: String, kind: ErrorKind| {
        let asked = ENVIRONMENT.compile_expression(&expression);
        asked
            .and_then(|asked| asked.eval(()))
            .is_err_and(|error| error.kind() == kind)
    };
    for filter in filters {
        if is_unknown(format!("0|{filter}"), ErrorKind::UnknownFilter) {
            return Err(format!("there is no filter {filter:?}"));
        }
    }
    for test in tests {
        if is_unknown(format!("0 is {test}"), ErrorKind::UnknownTest) {
            return Err(format!("there is no test {test:?} for `is`"));
        }
    }
    Ok(())
}

fn without_functions(found: std::collections::HashSet<String>) -> impl Iterator<Item = String> {
    let known: BTreeSet<&str> = ENVIRONMENT.globals().map(|(name, _)| name).collect();
    found
        .into_iter()
        .filter(move |name| !known.contains(name.as_str()))
}

/// A MiniJinja error in our words, with the expression where it is known.
pub(super) fn explain(error: &Error, source: &str) -> String {
    let range = error.range().and_then(|range| source.get(range));
    let detail = error
        .detail()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    let at = range
        .map(|text| format!(" at `{text}`"))
        .unwrap_or_default();
    format!("{}{detail}{at}", error.kind())
}
