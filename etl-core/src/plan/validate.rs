//! Everything that can be wrong with a pipeline beyond its shape, all at once.

use serde_json::{Map, Value};

use super::configs::ConfigShapes;
use super::references::{References, Sight};
use super::timing;
use crate::document::{SHAPE, Shape, Templates, escape};
use crate::graph::Dag;
use crate::model::{
    ExecutorKind, Fault, ForEach, Hook, MAX_ITEMS, MAX_STEPS, Pipeline, Step, When, nearest,
};
use crate::registry::Registry;
use crate::template::Template;

/// Every fault of a pipeline, its shape included: for those that no text was read for.
pub fn validate(pipeline: &Pipeline, registry: &Registry) -> Vec<Fault> {
    let shape = serde_json::to_value(pipeline).map(|value| SHAPE.faults(&value));
    let mut faults = shape.unwrap_or_else(|error| vec![Fault::new("", error.to_string())]);
    faults.extend(meaning(pipeline, registry));
    faults.sort();
    faults.dedup();
    faults
}

/// Every fault of a pipeline whose shape is right.
pub(super) fn meaning(pipeline: &Pipeline, registry: &Registry) -> Vec<Fault> {
    let mut faults = Vec::new();
    if pipeline.steps.is_empty() {
        faults.push(Fault::new("/steps", "a pipeline has at least one step"));
    }
    if pipeline.steps.len() > MAX_STEPS {
        let steps = pipeline.steps.len();
        let message = format!("{steps} steps are over the limit of {MAX_STEPS}");
        faults.push(Fault::new("/steps", message));
        return faults;
    }
    faults.extend(timing::faults(pipeline));
    parameter_schema(pipeline.parameters.as_ref(), &mut faults);
    faults.extend(Dag::build(&pipeline.steps).err().unwrap_or_default());
    let references = References::of(&pipeline.steps);
    let mut shapes = ConfigShapes::new(registry);
    for (at, step) in pipeline.steps.iter().enumerate() {
        let mut found = step_faults(step, registry, &mut shapes);
        let (own, with_item) = (Sight::Step(at as u32), Sight::Item(at as u32));
        let sight = if step.for_each.is_some() {
            with_item
        } else {
            own
        };
        references.check(&step.config, "/config", sight, &mut found);
        if let Some(When::Template(text)) = &step.when {
            references.check(&text.as_str().into(), "/when", sight, &mut found);
        }
        match &step.for_each {
            Some(ForEach::Template(text)) => {
                references.check(&text.as_str().into(), "/for_each", own, &mut found);
            }
            Some(ForEach::Items(items)) => {
                for (position, item) in items.iter().take(MAX_ITEMS).enumerate() {
                    references.check(item, &format!("/for_each/{position}"), own, &mut found);
                }
            }
            None => {}
        }
        let pointer = format!("/steps/{at}");
        faults.extend(found.into_iter().map(|fault| fault.below(&pointer)));
    }
    for (list, hooks) in [
        ("on_success", &pipeline.hooks.on_success),
        ("on_failure", &pipeline.hooks.on_failure),
    ] {
        for (at, hook) in hooks.iter().enumerate() {
            let mut found = hook_faults(hook);
            for (key, value) in &hook.parameters {
                let pointer = format!("/parameters/{}", escape(key));
                references.check(value, &pointer, Sight::Hook, &mut found);
            }
            let pointer = format!("/hooks/{list}/{at}");
            faults.extend(found.into_iter().map(|fault| fault.below(&pointer)));
        }
    }
    faults
}

/// What is wrong with a step, whatever the others are.
fn step_faults(step: &Step, registry: &Registry, shapes: &mut ConfigShapes<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if registry.connector(&step.connector_type).is_none() {
        let known: Vec<&str> = registry.connectors().map(|(name, _)| name).collect();
        let fault = Fault::new(
            "/connector_type",
            format!("unknown connector {:?}", step.connector_type),
        );
        faults.push(match nearest(&step.connector_type, known.iter().copied()) {
            Some(near) => fault.did_you_mean(Some(near)),
            None => fault.hint(format!("known connectors: {}", known.join(", "))),
        });
    }
    if step.executor != ExecutorKind::InProcess && registry.executor(step.executor).is_none() {
        let message = format!(
            "the executor {} is not built into this program",
            step.executor
        );
        faults.push(Fault::new("/executor", message).hint("leave it out to run in this process"));
    }
    let config = shapes.faults(&step.connector_type, &step.config);
    faults.extend(config.into_iter().map(|fault| fault.below("/config")));
    faults.extend(credential_fault(step.credential.as_deref()));
    if let Some(When::Template(text)) = &step.when
        && gives_text(text)
    {
        let message = format!("`when` is a text that is never true or false: {text:?}");
        faults.push(Fault::new("/when", message).hint("write it as one single \"{{ … }}\""));
    }
    match &step.for_each {
        Some(ForEach::Items(items)) if items.len() > MAX_ITEMS => {
            let message = format!("{} items are over the limit of {MAX_ITEMS}", items.len());
            faults.push(Fault::new("/for_each", message));
        }
        Some(ForEach::Template(text)) if gives_text(text) => {
            let message = format!("`for_each` is a text that is never a list: {text:?}");
            let hint = "write it as one single \"{{ … }}\", or give the list itself";
            faults.push(Fault::new("/for_each", message).hint(hint));
        }
        Some(_) | None => {}
    }
    faults
}

/// Whether a text gives text whatever it is rendered with. Broken templates are told elsewhere.
fn gives_text(text: &str) -> bool {
    Template::parse(&text.into()).is_ok_and(|template| !template.is_expression())
}

/// A credential is looked up by its name as it stands.
fn credential_fault(name: Option<&str>) -> Option<Fault> {
    let name = name?;
    let fault = |message: String| Some(Fault::new("/credential", message));
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return fault(format!("{name:?} is not the name of a credential"));
    }
    if name.contains("{{") {
        return fault("a credential is given by its name, templates are not rendered here".into());
    }
    None
}

fn parameter_schema(schema: Option<&Map<String, Value>>, faults: &mut Vec<Fault>) {
    let Some(schema) = schema else { return };
    let whole = Value::Object(schema.clone());
    if let Err(error) = jsonschema::draft202012::meta::validate(&whole) {
        let pointer = format!("/parameters{}", error.instance_path().as_str());
        faults.push(Fault::new(
            pointer,
            format!("this is not JSON Schema (2020-12): {error}"),
        ));
        return;
    }
    if let Err(message) = Shape::new(whole, Templates::AreText) {
        faults.push(Fault::new(
            "/parameters",
            format!("this JSON Schema can't be used: {message}"),
        ));
        return;
    }
    if let Some(kind) = schema.get("type").filter(|kind| *kind != "object") {
        let message = format!("the parameters of a job are an object, never {kind}");
        faults.push(Fault::new("/parameters/type", message));
    }
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let Some(default) = property.get("default") else {
            continue;
        };
        let Ok(shape) = Shape::new(property.clone(), Templates::AreText) else {
            continue;
        };
        let below = format!("/parameters/properties/{}/default", escape(name));
        faults.extend(shape.faults(default).into_iter().map(|fault| {
            Fault {
                message: format!("the default does not fit: {}", fault.message),
                ..fault
            }
            .below(&below)
        }));
    }
}

fn hook_faults(hook: &Hook) -> Vec<Fault> {
    let mut faults: Vec<Fault> = credential_fault(hook.credential.as_deref())
        .into_iter()
        .collect();
    match (&hook.trigger_pipeline, &hook.webhook) {
        (Some(_), Some(_)) | (None, None) => {
            let message = "a hook has exactly one of `trigger_pipeline` and `webhook`";
            faults.push(Fault::new("", message));
        }
        (Some(name), None) => {
            let is_name = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && name.len() <= 255
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
            if !is_name {
                let message = format!("{name:?} is not the name of a pipeline");
                faults.push(Fault::new("/trigger_pipeline", message));
            }
            if hook.credential.is_some() {
                let message = "a credential signs a webhook, and this hook has none";
                faults.push(Fault::new("/credential", message));
            }
        }
        (None, Some(url)) => {
            if !url.starts_with("https://") && !url.starts_with("http://") {
                let message = "a webhook is an http or https URL";
                faults.push(Fault::new("/webhook", message));
            } else if url.contains("{{") {
                let message = "templates are not rendered in the URL of a webhook";
                faults.push(Fault::new("/webhook", message));
            }
            if !hook.parameters.is_empty() {
                let message = "parameters are those of a triggered pipeline; a webhook gets the outcome of the job";
                faults.push(Fault::new("/parameters", message));
            }
        }
    }
    faults
}
