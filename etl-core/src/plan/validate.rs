//! Everything that can be wrong with a pipeline beyond its shape, all at once.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use chrono::Utc;
use serde_json::{Map, Value};

use super::configs::ConfigShapes;
use crate::document::{SHAPE, Shape, Templates};
use crate::graph::Dag;
use crate::model::{
    Calendar, ExecutorKind, Fault, ForEach, Hook, MAX_ITEMS, MAX_STEPS, Pipeline, Step, When,
    nearest,
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
        faults.push(Fault::new(
            "/steps",
            format!(
                "{} steps are over the limit of {MAX_STEPS}",
                pipeline.steps.len()
            ),
        ));
    }
    timing(pipeline, &mut faults);
    parameter_schema(pipeline.parameters.as_ref(), &mut faults);
    faults.extend(Dag::build(&pipeline.steps).err().unwrap_or_default());
    let ancestry = Ancestry::of(&pipeline.steps);
    let mut shapes = ConfigShapes::new(registry);
    for (at, step) in pipeline.steps.iter().enumerate() {
        let context = StepCheck {
            pipeline,
            ancestry: &ancestry,
            registry,
            at: at as u32,
        };
        faults.extend(
            context
                .faults(step, &mut shapes)
                .into_iter()
                .map(|fault| fault.below(&format!("/steps/{at}"))),
        );
    }
    for (list, hooks) in [
        ("on_success", &pipeline.hooks.on_success),
        ("on_failure", &pipeline.hooks.on_failure),
    ] {
        for (at, hook) in hooks.iter().enumerate() {
            faults.extend(
                hook_faults(hook, pipeline)
                    .into_iter()
                    .map(|fault| fault.below(&format!("/hooks/{list}/{at}"))),
            );
        }
    }
    faults
}

struct StepCheck<'a> {
    pipeline: &'a Pipeline,
    ancestry: &'a Ancestry<'a>,
    registry: &'a Registry,
    at: u32,
}

impl StepCheck<'_> {
    fn faults(&self, step: &Step, shapes: &mut ConfigShapes<'_>) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.registry.connector(&step.connector_type).is_none() {
            let known: Vec<&str> = self.registry.connectors().map(|(name, _)| name).collect();
            let fault = Fault::new(
                "/connector_type",
                format!("unknown connector {:?}", step.connector_type),
            );
            faults.push(match nearest(&step.connector_type, known.iter().copied()) {
                Some(near) => fault.did_you_mean(Some(near)),
                None => fault.hint(format!("known connectors: {}", known.join(", "))),
            });
        }
        if step.executor != ExecutorKind::InProcess
            && self.registry.executor(step.executor).is_none()
        {
            let message = format!(
                "the executor {} is not built into this program",
                step.executor
            );
            faults
                .push(Fault::new("/executor", message).hint("leave it out to run in this process"));
        }
        let config = shapes.faults(&step.connector_type, &step.config);
        faults.extend(config.into_iter().map(|fault| fault.below("/config")));
        let has_item = step.for_each.is_some();
        self.template(&step.config, "/config", has_item, &mut faults);
        match &step.when {
            Some(When::Template(text)) if !text.contains("{{") => {
                let message = format!("`when` is a text that is never true or false: {text:?}");
                faults.push(Fault::new("/when", message).hint("write it as \"{{ … }}\""));
            }
            Some(When::Template(text)) => {
                self.template(&Value::from(text.as_str()), "/when", has_item, &mut faults);
            }
            Some(When::Literal(_)) | None => {}
        }
        match &step.for_each {
            Some(ForEach::Items(items)) if items.len() > MAX_ITEMS => {
                let message = format!("{} items are over the limit of {MAX_ITEMS}", items.len());
                faults.push(Fault::new("/for_each", message));
            }
            Some(ForEach::Items(items)) => {
                self.template(&Value::from(items.clone()), "/for_each", false, &mut faults);
            }
            Some(ForEach::Template(text)) if !text.contains("{{") => {
                let message = format!("`for_each` is a text that is never a list: {text:?}");
                faults.push(
                    Fault::new("/for_each", message)
                        .hint("write it as \"{{ … }}\", or give the list itself"),
                );
            }
            Some(ForEach::Template(text)) => {
                self.template(&Value::from(text.as_str()), "/for_each", false, &mut faults);
            }
            None => {}
        }
        faults
    }

    /// A template may name only what exists, and only steps that are settled when it is rendered.
    fn template(&self, value: &Value, pointer: &str, has_item: bool, faults: &mut Vec<Fault>) {
        let template = match Template::parse(value) {
            Ok(template) => template,
            Err(found) => {
                faults.extend(found.into_iter().map(|fault| {
                    Fault::new(
                        format!("{pointer}{}", fault.pointer),
                        format!("broken template: {}", fault.message),
                    )
                }));
                return;
            }
        };
        if template.has_dynamic_steps() {
            let message =
                "a template has to name the step that it reads: steps.NAME or steps['NAME']";
            faults.push(Fault::new(pointer, message));
        }
        let roots = if has_item {
            &["params", "job", "steps", "item", "index"][..]
        } else {
            &["params", "job", "steps"]
        };
        for root in template.roots() {
            if matches!(root.as_str(), "item" | "index") && !has_item {
                faults.push(Fault::new(
                    pointer,
                    format!("`{root}` exists only in a step with `for_each`"),
                ));
            } else if !roots.contains(&root.as_str()) {
                let fault = Fault::new(
                    pointer,
                    format!("a template names {root:?}, which does not exist"),
                );
                faults.push(match nearest(root, roots.iter().copied()) {
                    Some(near) => fault.did_you_mean(Some(near)),
                    None => fault.hint(format!("a template sees {}", roots.join(", "))),
                });
            }
        }
        for name in template.steps() {
            faults.extend(self.step_reference(name).map(|fault| fault.below(pointer)));
        }
    }

    fn step_reference(&self, name: &str) -> Option<Fault> {
        let own = &self.pipeline.steps.get(self.at as usize)?.name;
        if own == name {
            return Some(Fault::new(
                "",
                format!("step {own:?} reads its own result, which it does not have yet"),
            ));
        }
        let Some(other) = self.ancestry.position(name) else {
            let near = nearest(
                name,
                self.pipeline.steps.iter().map(|step| step.name.as_str()),
            );
            let message = format!("a template names the step {name:?}, which does not exist");
            return Some(Fault::new("", message).did_you_mean(near));
        };
        (!self.ancestry.is_ancestor(other, self.at)).then(|| {
            Fault::new(
                "",
                format!("step {own:?} reads step {name:?} but does not come after it"),
            )
            .hint(format!("add {name:?} to its dependencies"))
        })
    }
}

/// Who comes before whom, as far as it can be told of a graph that may be faulty.
struct Ancestry<'a> {
    positions: HashMap<&'a str, u32>,
    dependencies: Vec<Vec<u32>>,
}

impl<'a> Ancestry<'a> {
    fn of(steps: &'a [Step]) -> Self {
        let positions: HashMap<&str, u32> = steps
            .iter()
            .enumerate()
            .map(|(at, step)| (step.name.as_str(), at as u32))
            .collect();
        let known = |step: &Step| {
            step.dependencies
                .iter()
                .filter_map(|on| positions.get(on.as_str()).copied())
                .collect()
        };
        let dependencies = steps.iter().map(known).collect();
        Self {
            positions,
            dependencies,
        }
    }

    fn position(&self, name: &str) -> Option<u32> {
        self.positions.get(name).copied()
    }

    fn is_ancestor(&self, ancestor: u32, step: u32) -> bool {
        // Nearly always a direct dependency; then nothing is searched.
        if self.dependencies[step as usize].contains(&ancestor) {
            return true;
        }
        let mut seen = HashSet::new();
        let mut open = self.dependencies[step as usize].clone();
        while let Some(at) = open.pop() {
            if at == ancestor {
                return true;
            }
            if seen.insert(at) {
                open.extend_from_slice(&self.dependencies[at as usize]);
            }
        }
        false
    }
}

fn timing(pipeline: &Pipeline, faults: &mut Vec<Fault>) {
    let zone = chrono_tz::Tz::from_str(&pipeline.timezone);
    if zone.is_err() {
        let near = nearest(
            &pipeline.timezone,
            chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()),
        );
        let fault = Fault::new(
            "/timezone",
            format!(
                "{:?} is not the name of an IANA time zone",
                pipeline.timezone
            ),
        );
        faults.push(match near {
            Some(near) => fault.did_you_mean(Some(near)),
            None => fault.hint("for example \"America/Sao_Paulo\" or \"UTC\""),
        });
    }
    if let Some(schedule) = &pipeline.schedule {
        let parser = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Optional)
            .build();
        match parser.parse(schedule) {
            Err(error) => {
                let fault = Fault::new(
                    "/schedule",
                    format!("{schedule:?} is no cron expression: {error}"),
                );
                faults.push(fault.hint("minute hour day-of-month month day-of-week, for example \"0 6 * * 1-5\", or @daily"));
            }
            Ok(cron) if cron.find_next_occurrence(&Utc::now(), false).is_err() => {
                faults.push(Fault::new("/schedule", format!("{schedule:?} never comes")));
            }
            Ok(_) => {}
        }
    }
    if let Some(calendar) = &pipeline.calendar {
        faults.extend(
            calendar_fault(calendar, pipeline.schedule.is_some())
                .map(|fault| fault.below("/calendar")),
        );
    }
}

fn calendar_fault(calendar: &Calendar, has_schedule: bool) -> Option<Fault> {
    match (calendar.rule, calendar.nth_business_day, &calendar.at) {
        (None, Some(0), _) => Some(Fault::new(
            "/nth_business_day",
            "business days are counted from 1, or from -1 backwards",
        )),
        (None, Some(_), _) if has_schedule => Some(Fault::new(
            "",
            "`nth_business_day` stands in place of `schedule`: give one of them",
        )),
        (None, Some(_), Some(at)) if chrono::NaiveTime::parse_from_str(at, "%H:%M").is_err() => {
            Some(
                Fault::new("/at", format!("{at:?} is no time of day"))
                    .hint("for example \"06:00\""),
            )
        }
        (None, Some(_), None) => Some(Fault::new(
            "",
            "`nth_business_day` needs `at`, the time of day",
        )),
        (Some(_), None, None) if !has_schedule => Some(Fault::new(
            "",
            "a `rule` moves the fires of a `schedule`, and there is none",
        )),
        (Some(_), None, None) | (None, Some(_), Some(_)) => None,
        _ => Some(Fault::new(
            "",
            "a calendar has either a `rule`, or `nth_business_day` and `at`",
        )),
    }
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
        let below = format!("/parameters/properties/{name}/default");
        faults.extend(shape.faults(default).into_iter().map(|fault| {
            Fault {
                message: format!("the default does not fit: {}", fault.message),
                ..fault
            }
            .below(&below)
        }));
    }
}

fn hook_faults(hook: &Hook, pipeline: &Pipeline) -> Vec<Fault> {
    let mut faults = Vec::new();
    match (&hook.trigger_pipeline, &hook.webhook) {
        (Some(_), Some(_)) | (None, None) => {
            faults.push(Fault::new(
                "",
                "a hook has exactly one of `trigger_pipeline` and `webhook`",
            ));
        }
        (None, Some(url)) if !url.starts_with("https://") && !url.starts_with("http://") => {
            faults.push(Fault::new("/webhook", "a webhook is an http or https URL"));
        }
        _ => {}
    }
    match Template::parse(&Value::Object(hook.parameters.clone())) {
        Err(found) => faults.extend(found.into_iter().map(|fault| {
            Fault::new(
                format!("/parameters{}", fault.pointer),
                format!("broken template: {}", fault.message),
            )
        })),
        Ok(template) => {
            for name in template
                .steps()
                .iter()
                .filter(|name| !pipeline.steps.iter().any(|step| step.name == **name))
            {
                let near = nearest(name, pipeline.steps.iter().map(|step| step.name.as_str()));
                let fault = Fault::new(
                    "/parameters",
                    format!("a template names the step {name:?}, which does not exist"),
                );
                faults.push(fault.did_you_mean(near));
            }
        }
    }
    faults
}
