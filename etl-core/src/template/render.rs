//! What a template gives in a scope.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::env::{ENVIRONMENT, MAX_RENDERED, too_large};
use super::json::to_json;
use super::parse::{Node, Template, explain, within};
use super::scope::Scope;

/// Why a template can't be rendered in a scope. Rendering it again gives the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RenderError {
    /// JSON pointer (RFC 6901) below the value that was parsed.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.pointer.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.pointer, self.message)
    }
}

impl Template {
    /// The value with every template replaced by what it gives. Without any, the same value again and no copy.
    ///
    /// # Errors
    /// The first template that can't be rendered: something undefined, a wrong type, or too much work or text.
    pub fn render(&self, scope: &Scope) -> Result<Arc<Value>, RenderError> {
        if let Node::Literal(value) = &self.0.node {
            return Ok(Arc::clone(value));
        }
        render(&self.0.node, &scope.to_value(), &mut String::new()).map(Arc::new)
    }
}

fn render(
    node: &Node,
    scope: &minijinja::Value,
    pointer: &mut String,
) -> Result<Value, RenderError> {
    let fault = |pointer: &str, message: String| RenderError {
        pointer: pointer.into(),
        message,
    };
    match node {
        Node::Literal(value) => Ok((**value).clone()),
        Node::Expression(expression) => {
            let value = expression
                .eval(scope.clone())
                .map_err(|error| fault(pointer, explain(&error, "")))?;
            to_json(&value).map_err(|message| fault(pointer, message))
        }
        Node::Text(text) => {
            let mut bounded = Bounded::default();
            let template = ENVIRONMENT
                .template_from_str(text)
                .map_err(|error| fault(pointer, explain(&error, text)))?;
            let rendered = template
                .render_captured_to(scope.clone(), &mut bounded)
                .map(drop);
            if bounded.overflowed {
                return Err(fault(pointer, explain(&too_large(), "")));
            }
            rendered.map_err(|error| fault(pointer, explain(&error, text)))?;
            String::from_utf8(bounded.written)
                .map(Value::String)
                .map_err(|error| fault(pointer, error.to_string()))
        }
        Node::List(nodes) => {
            let items = nodes.iter().enumerate();
            let items = items.map(|(at, node)| {
                within(pointer, &at.to_string(), |pointer| {
                    render(node, scope, pointer)
                })
            });
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
        Node::Object(fields) => {
            let mut object = Map::new();
            for (key, node) in fields {
                let value = within(pointer, key, |pointer| render(node, scope, pointer))?;
                object.insert(key.clone(), value);
            }
            Ok(Value::Object(object))
        }
    }
}

/// Text that refuses to grow over the limit.
#[derive(Default)]
struct Bounded {
    written: Vec<u8>,
    overflowed: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.written.len() + bytes.len() > MAX_RENDERED {
            self.overflowed = true;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
