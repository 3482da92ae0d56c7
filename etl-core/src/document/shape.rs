//! Checks a JSON value against a JSON Schema and says every fault in our own words.

use std::collections::BTreeSet;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::finding::{About, Finding, forget_meant, unknown_key};
use crate::model::{Fault, nearest};

/// A schema, ready to check with.
#[derive(Debug)]
pub struct Shape {
    validator: Validator,
    schema: Value,
    templates: Templates,
}

/// How many faults of one value are told. Each holds a pointer, and a hostile document may have one in every value.
const MAX_FAULTS: usize = 1000;

/// Whether a text with a template in it passes for any value, because what it gives is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Templates {
    /// It passes.
    Pass,
    /// It is text.
    AreText,
}

impl Shape {
    /// For a schema (2020-12). Nothing is fetched: a reference to elsewhere is a fault of the schema.
    ///
    /// # Errors
    /// What is wrong with the schema, in one line.
    pub fn new(schema: Value, templates: Templates) -> Result<Self, String> {
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .build(&schema)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            validator,
            schema,
            templates,
        })
    }

    /// For what serde reads a type from.
    ///
    /// # Errors
    /// If schemars makes a schema of it that is none.
    pub fn of<T: JsonSchema>(templates: Templates) -> Result<Self, String> {
        let schema = SchemaSettings::draft2020_12()
            .into_generator()
            .into_root_schema_for::<T>();
        Self::new(schema.to_value(), templates)
    }

    /// Every fault of a value.
    pub fn faults(&self, value: &Value) -> Vec<Fault> {
        let findings = self.findings(value).into_iter();
        findings.map(|finding| finding.fault).collect()
    }

    /// Every fault of a value, with what it is about.
    pub(super) fn findings(&self, value: &Value) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .validator
            .iter_errors(value)
            .flat_map(|error| self.explain(&error))
            .take(MAX_FAULTS)
            .collect();
        findings.sort();
        findings.dedup();
        forget_meant(&mut findings);
        findings
    }

    fn passes(&self, value: &Value) -> bool {
        self.templates == Templates::Pass
            && value
                .as_str()
                .is_some_and(|text| text.contains("{{") || text.contains("{%"))
    }

    fn explain(&self, error: &ValidationError<'_>) -> Vec<Finding> {
        let pointer = error.instance_path().as_str().to_owned();
        let value = error.instance();
        if self.passes(value) {
            return Vec::new();
        }
        let fault = |message: String| vec![Finding::value(Fault::new(pointer.clone(), message))];
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let known = self.known_keys(error);
                unexpected
                    .iter()
                    .map(|key| unknown_key(&pointer, key, &known))
                    .collect()
            }
            ValidationErrorKind::Required { property } => vec![Finding {
                fault: Fault::new(pointer, format!("the key {property} is missing")),
                about: About::MissingKey(property.as_str().unwrap_or_default().into()),
            }],
            ValidationErrorKind::Type { kind } => fault(format!(
                "{} is wanted here, this is {}",
                wanted(kind),
                shown(value)
            )),
            ValidationErrorKind::Enum { options } => one_of(&pointer, value, &strings(options)),
            ValidationErrorKind::Constant { expected_value } => fault(format!(
                "this has to be {expected_value}, it is {}",
                shown(value)
            )),
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => {
                self.branches(&pointer, value, context)
            }
            ValidationErrorKind::Minimum { limit } => {
                fault(format!("the least is {limit}, this is {value}"))
            }
            ValidationErrorKind::Maximum { limit } => {
                fault(format!("the most is {limit}, this is {value}"))
            }
            ValidationErrorKind::ExclusiveMinimum { limit } => {
                fault(format!("it has to be more than {limit}, this is {value}"))
            }
            ValidationErrorKind::ExclusiveMaximum { limit } => {
                fault(format!("it has to be less than {limit}, this is {value}"))
            }
            ValidationErrorKind::MinItems { limit } => {
                fault(format!("at least {limit} item(s) are wanted here"))
            }
            ValidationErrorKind::MaxItems { limit } => {
                fault(format!("at most {limit} items are allowed here"))
            }
            ValidationErrorKind::MinLength { limit } => {
                fault(format!("at least {limit} character(s) are wanted here"))
            }
            ValidationErrorKind::MaxLength { limit } => {
                fault(format!("at most {limit} characters are allowed here"))
            }
            ValidationErrorKind::Pattern { pattern } => fault(format!(
                "{} does not fit the pattern {pattern}",
                shown(value)
            )),
            ValidationErrorKind::Format { format } => {
                fault(format!("{} is no {format}", shown(value)))
            }
            ValidationErrorKind::UniqueItems => fault("the items have to differ".into()),
            _ => fault(error.to_string()),
        }
    }

    /// Of several alternatives, the faults of the one that is meant.
    fn branches(
        &self,
        pointer: &str,
        value: &Value,
        branches: &[Vec<ValidationError<'static>>],
    ) -> Vec<Finding> {
        let type_pointer = format!("{pointer}/type");
        let is_tagged = branches
            .iter()
            .flatten()
            .any(|error| tag_of(error, &type_pointer).is_some());
        if is_tagged && let Some(object) = value.as_object() {
            let known: BTreeSet<String> = branches
                .iter()
                .flatten()
                .filter_map(|error| tag_of(error, &type_pointer))
                .collect();
            let Some(tag) = object.get("type") else {
                let fault = Fault::new(pointer, "the key \"type\" is missing")
                    .hint(format!("known types: {}", joined(&known)));
                return vec![Finding {
                    fault,
                    about: About::MissingKey("type".into()),
                }];
            };
            // Which branch is meant is not known before the template is rendered.
            if self.passes(tag) {
                return Vec::new();
            }
            // The branch that is meant has no fault in its tag.
            let meant = branches.iter().find(|errors| {
                errors
                    .iter()
                    .all(|error| tag_of(error, &type_pointer).is_none())
            });
            return match meant {
                Some(errors) => errors
                    .iter()
                    .flat_map(|error| self.explain(error))
                    .collect(),
                None => one_of(&type_pointer, tag, &known.into_iter().collect::<Vec<_>>()),
            };
        }
        let explained: Vec<Vec<Finding>> = branches
            .iter()
            .map(|errors| {
                errors
                    .iter()
                    .flat_map(|error| self.explain(error))
                    .collect()
            })
            .collect();
        if explained.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let constants: Vec<String> = branches
            .iter()
            .flatten()
            .filter(|error| error.instance_path().as_str() == pointer)
            .flat_map(|error| match error.kind() {
                ValidationErrorKind::Constant { expected_value } => strings(expected_value),
                ValidationErrorKind::Enum { options } => strings(options),
                _ => Vec::new(),
            })
            .collect();
        if !constants.is_empty() && (value.is_string() || constants.len() >= branches.len()) {
            return one_of(pointer, value, &constants);
        }
        let mut kinds = Vec::new();
        wanted_kinds(pointer, branches, &mut kinds);
        // An alternative that failed below its top is the one that was meant.
        let deeper = explained.iter().filter(|findings| {
            findings
                .iter()
                .all(|finding| finding.fault.pointer != pointer || !is_kind(&finding.fault))
        });
        match deeper.min_by_key(|findings| findings.len()) {
            Some(findings) => findings.clone(),
            None => vec![Finding::value(Fault::new(
                pointer,
                format!(
                    "{} is wanted here, this is {}",
                    kinds.join(" or "),
                    shown(value)
                ),
            ))],
        }
    }

    /// The keys that the schema knows where it met one that it does not.
    fn known_keys(&self, error: &ValidationError<'_>) -> Vec<String> {
        let path = error.schema_path().as_str();
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let object = self.schema.pointer(above).or_else(|| self.schema_at(above));
        let properties = object
            .and_then(|schema| schema.get("properties"))
            .and_then(Value::as_object);
        properties
            .map(|properties| properties.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// A schema by the path that evaluation took, through references.
    fn schema_at(&self, path: &str) -> Option<&Value> {
        let mut at = &self.schema;
        for part in path.split('/').skip(1) {
            if part == "$ref" {
                at = self
                    .schema
                    .pointer(at.get("$ref")?.as_str()?.strip_prefix('#')?)?;
            } else {
                let part = super::pointer::unescape(part);
                at = at
                    .get(&part)
                    .or_else(|| part.parse::<usize>().ok().and_then(|index| at.get(index)))?;
            }
        }
        Some(at)
    }
}

fn joined(words: &BTreeSet<String>) -> String {
    words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn is_kind(fault: &Fault) -> bool {
    fault.message.contains("is wanted here")
}

/// The tag that an alternative wants, if the error is about the tag.
fn tag_of(error: &ValidationError<'_>, type_pointer: &str) -> Option<String> {
    if error.instance_path().as_str() == type_pointer {
        return match error.kind() {
            ValidationErrorKind::Constant { expected_value } => strings(expected_value).pop(),
            ValidationErrorKind::Enum { options } => strings(options).pop(),
            _ => None,
        };
    }
    None
}

fn one_of(pointer: &str, value: &Value, known: &[String]) -> Vec<Finding> {
    let fault = Fault::new(
        pointer,
        format!("{} is not one of {}", shown(value), known.join(", ")),
    );
    let near = value
        .as_str()
        .and_then(|word| nearest(word, known.iter().map(String::as_str)));
    vec![Finding::value(fault.did_you_mean(near))]
}

fn strings(value: &Value) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        single => vec![text(single)],
    }
}

/// What kinds of values the alternatives take, those within alternatives included.
fn wanted_kinds(
    pointer: &str,
    branches: &[Vec<ValidationError<'static>>],
    kinds: &mut Vec<String>,
) {
    let errors = branches.iter().flatten();
    for error in errors.filter(|error| error.instance_path().as_str() == pointer) {
        match error.kind() {
            ValidationErrorKind::Type { kind } => {
                kinds.extend(Some(wanted(kind)).filter(|kind| kind != "nothing"));
            }
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => {
                wanted_kinds(pointer, context, kinds);
            }
            _ => {}
        }
    }
}

fn wanted(kind: &TypeKind) -> String {
    let words: Vec<&str> = match kind {
        TypeKind::Single(kind) => vec![word(&kind.to_string())],
        TypeKind::Multiple(kinds) => kinds.iter().map(|kind| word(&kind.to_string())).collect(),
    };
    let words: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| words.len() == 1 || *word != "nothing")
        .collect();
    words.join(" or ")
}

fn word(kind: &str) -> &'static str {
    match kind {
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "an object",
        "string" => "text",
        _ => "nothing",
    }
}

/// A value as a message shows it: scalars themselves (short), the rest by kind.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::String(text) if text.chars().count() > 60 => {
            format!("{:?}…", text.chars().take(60).collect::<String>())
        }
        scalar => scalar.to_string(),
    }
}
