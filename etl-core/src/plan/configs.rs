//! Connector configurations against their schemas, each schema compiled once.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::document::{Shape, Templates};
use crate::model::Fault;
use crate::registry::Registry;

/// The shapes of connectors' configurations, made when first asked for.
#[derive(Debug)]
pub struct ConfigShapes<'a> {
    registry: &'a Registry,
    shapes: HashMap<String, Option<Arc<Shape>>>,
}

impl<'a> ConfigShapes<'a> {
    /// For the connectors of `registry`.
    pub fn new(registry: &'a Registry) -> Self {
        Self {
            registry,
            shapes: HashMap::new(),
        }
    }

    /// Every fault of a configuration whose templates may not be rendered yet. Nothing for an unknown connector.
    pub fn faults(&mut self, connector_type: &str, config: &Value) -> Vec<Fault> {
        let Some(connector) = self.registry.connector(connector_type) else {
            return Vec::new();
        };
        let shape = self.shapes.entry(connector_type.into()).or_insert_with(|| {
            Shape::new(connector.config_schema(), Templates::Pass)
                .map(Arc::new)
                .ok()
        });
        let mut faults = shape
            .as_ref()
            .map(|shape| shape.faults(config))
            .unwrap_or_default();
        if faults.is_empty() {
            // What a template gives is not known yet: what its text is like says nothing.
            let is_template = |pointer: &str| {
                let value = config.pointer(pointer).and_then(Value::as_str);
                value.is_some_and(|text| text.contains("{{") || text.contains("{%"))
            };
            let found = connector.check(config).into_iter();
            faults.extend(
                found
                    .filter(|(pointer, _)| !is_template(pointer))
                    .map(|(pointer, message)| Fault::new(pointer, message)),
            );
        }
        faults
    }
}
