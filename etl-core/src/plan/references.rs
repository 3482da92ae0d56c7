//! What the templates of a pipeline may name: what exists, and only steps that are settled when they are rendered.

use std::cell::Cell;

use serde_json::Value;

use super::ancestry::Ancestry;
use crate::document::escape;
use crate::model::{Fault, Step, nearest};
use crate::template::Template;

/// For how many unknown steps the nearest one is looked for: each is compared with every step.
const MAX_HINTS: usize = 20;

/// Checks what templates name.
pub(super) struct References<'a> {
    steps: &'a [Step],
    ancestry: Ancestry<'a>,
    hints: Cell<usize>,
}

/// Where a template stands, which decides what it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// In the step at this position: what came before the step.
    Step(u32),
    /// The same, and the item of the step's fan-out.
    Item(u32),
    /// After the job's end: every step.
    Hook,
}

impl<'a> References<'a> {
    pub(super) fn of(steps: &'a [Step]) -> Self {
        Self {
            steps,
            ancestry: Ancestry::of(steps),
            hints: Cell::new(MAX_HINTS),
        }
    }

    /// Adds every fault of every template in `value`, each with its own place.
    pub(super) fn check(
        &self,
        value: &Value,
        pointer: &str,
        sight: Sight,
        faults: &mut Vec<Fault>,
    ) {
        match value {
            Value::String(text) if text.contains('{') => {
                let found = self.template(value, sight);
                faults.extend(found.into_iter().map(|fault| fault.below(pointer)));
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.check(item, &format!("{pointer}/{at}"), sight, faults);
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    let pointer = format!("{pointer}/{}", escape(key));
                    self.check(field, &pointer, sight, faults);
                }
            }
            _ => {}
        }
    }

    fn template(&self, text: &Value, sight: Sight) -> Vec<Fault> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(found) => {
                let broken = |fault: crate::template::TemplateFault| {
                    Fault::new(fault.pointer, format!("broken template: {}", fault.message))
                };
                return found.into_iter().map(broken).collect();
            }
        };
        let mut faults = Vec::new();
        if template.has_dynamic_steps() {
            faults.push(Fault::new(
                "",
                "a template has to name the step that it reads: steps.NAME or steps['NAME']",
            ));
        }
        let roots = match sight {
            Sight::Item(_) => &["params", "job", "steps", "item", "index"][..],
            Sight::Step(_) | Sight::Hook => &["params", "job", "steps"],
        };
        for root in template.roots() {
            faults.extend(root_fault(root, roots));
        }
        let names = template.steps().iter();
        faults.extend(names.filter_map(|name| self.step_fault(name, sight)));
        faults
    }

    fn step_fault(&self, name: &str, sight: Sight) -> Option<Fault> {
        let Some(other) = self.ancestry.position(name) else {
            let message = format!("a template names the step {name:?}, which does not exist");
            let hints = self.hints.get();
            self.hints.set(hints.saturating_sub(1));
            let near = (hints > 0)
                .then(|| nearest(name, self.ancestry.names()))
                .flatten();
            return Some(Fault::new("", message).did_you_mean(near));
        };
        let (Sight::Step(at) | Sight::Item(at)) = sight else {
            return None;
        };
        let own = &self.steps.get(at as usize)?.name;
        if own == name {
            let message = format!("step {own:?} reads its own result, which it does not have yet");
            return Some(Fault::new("", message));
        }
        (!self.ancestry.is_ancestor(other, at)).then(|| {
            let message = format!("step {own:?} reads step {name:?} but does not come after it");
            Fault::new("", message).hint(format!("add {name:?} to its dependencies"))
        })
    }
}

fn root_fault(root: &str, roots: &[&str]) -> Option<Fault> {
    if roots.contains(&root) {
        return None;
    }
    if matches!(root, "item" | "index") {
        let message = format!("`{root}` exists only in a step with `for_each`");
        return Some(Fault::new("", message));
    }
    let message = format!("a template names {root:?}, which does not exist");
    let fault = Fault::new("", message);
    Some(match nearest(root, roots.iter().copied()) {
        Some(near) => fault.did_you_mean(Some(near)),
        None => fault.hint(format!("a template sees {}", roots.join(", "))),
    })
}
