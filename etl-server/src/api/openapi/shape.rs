//! What handlers take and give, told by their types.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use etl_core::model::Pipeline;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

use super::super::body::{Any, Body, MaybeBody, Offered};
use super::super::extract::{
    IDEMPOTENCY_KEY, Id, IdempotencyKey, Ids, IfMatch, LONGEST_KEY, MayMatch, Query,
};
use super::super::problem::Problem;

/// The types that operations name: as they are read and as they are written, which need not be the same.
#[derive(Debug)]
pub(in crate::api) struct Shapes {
    pub(super) taken: SchemaGenerator,
    pub(super) given: SchemaGenerator,
}

impl Shapes {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            taken: settings().for_deserialize().into_generator(),
            given: settings().for_serialize().into_generator(),
        }
    }

    /// A type as it is read, by name where it has one.
    fn taken<T: JsonSchema>(&mut self) -> Value {
        self.taken.subschema_for::<T>().to_value()
    }

    /// A type as it is written, by name where it has one.
    pub(in crate::api) fn given<T: JsonSchema>(&mut self) -> Value {
        self.given.subschema_for::<T>().to_value()
    }
}

/// What is known of an operation from its handler's type.
#[derive(Debug)]
pub(in crate::api) struct Operation {
    /// The variables of the path, in its order.
    pub(super) variables: Vec<Value>,
    /// OpenAPI's parameter objects.
    pub(super) parameters: Vec<Value>,
    /// Good answers: the shape of what they hold, if they hold something.
    pub(super) answers: BTreeMap<u16, Option<Value>>,
    /// What good answers are written in.
    pub(in crate::api) media_type: &'static str,
    /// The shape of the body, if there is one.
    pub(super) body: Option<Value>,
    /// Whether there may be none.
    pub(super) may_be_empty: bool,
    /// Statuses of problems.
    pub(super) refusals: BTreeSet<u16>,
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            variables: Vec::new(),
            parameters: Vec::new(),
            answers: BTreeMap::new(),
            media_type: "application/json",
            body: None,
            may_be_empty: false,
            refusals: BTreeSet::new(),
        }
    }
}

impl Operation {
    /// A header that may be there.
    pub(in crate::api) fn header(&mut self, name: &str, shape: Value) {
        self.parameters
            .push(parameter("header", name, false, shape));
    }

    /// A good answer.
    pub(in crate::api) fn gives(&mut self, status: StatusCode, shape: Option<Value>) {
        self.answers.insert(status.as_u16(), shape);
    }

    /// What was answered with one status is answered with another.
    pub(in crate::api) fn moves(&mut self, from: StatusCode, to: StatusCode) {
        if let Some(shape) = self.answers.remove(&from.as_u16()) {
            self.answers.insert(to.as_u16(), shape);
        }
    }

    pub(in crate::api) fn refuses(&mut self, statuses: &[StatusCode]) {
        let statuses = statuses.iter().map(StatusCode::as_u16);
        self.refusals.extend(statuses);
    }
}

/// A handler of this type can be described.
pub(in crate::api) trait Described<D> {
    fn describe(operation: &mut Operation, shapes: &mut Shapes);
}

/// An argument of a handler.
pub(in crate::api) trait Takes {
    /// Adds what it takes from a request, and how it refuses one.
    fn take(_: &mut Operation, _: &mut Shapes) {}
}

/// An answer of a handler.
pub(in crate::api) trait Gives {
    /// Adds the answer.
    fn give(operation: &mut Operation, shapes: &mut Shapes);
}

macro_rules! describe_functions {
    ($(($($argument:ident),*))+) => {$(
        impl<F, Fut, R, $($argument),*> Described<(R, $($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut,
            Fut: Future<Output = R>,
            R: Gives,
            $($argument: Takes,)*
        {
            fn describe(operation: &mut Operation, shapes: &mut Shapes) {
                $($argument::take(operation, shapes);)*
                R::give(operation, shapes);
            }
        }
    )+};
}

describe_functions! { () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, G) }

/// Of the server.
impl<S> Takes for State<S> {}

/// Of who asks, and of the connection.
impl<T> Takes for Extension<T> {}

impl<T: JsonSchema> Takes for Id<T> {
    fn take(operation: &mut Operation, shapes: &mut Shapes) {
        operation.variables.push(shapes.taken::<T>());
        operation.refusals.insert(StatusCode::NOT_FOUND.as_u16());
    }
}

impl<A: JsonSchema, B: JsonSchema> Takes for Ids<A, B> {
    fn take(operation: &mut Operation, shapes: &mut Shapes) {
        Id::<A>::take(operation, shapes);
        Id::<B>::take(operation, shapes);
    }
}

impl<T: JsonSchema> Takes for Query<T> {
    fn take(operation: &mut Operation, shapes: &mut Shapes) {
        operation.refusals.insert(StatusCode::BAD_REQUEST.as_u16());
        let shape = T::json_schema(&mut shapes.taken).to_value();
        let required = shape["required"].as_array();
        let Some(properties) = shape["properties"].as_object() else {
            return;
        };
        for (name, property) in properties {
            let is_required = required.is_some_and(|names| names.contains(&json!(name)));
            operation
                .parameters
                .push(parameter("query", name, is_required, property.clone()));
        }
    }
}

impl<T: JsonSchema> Takes for Body<T> {
    fn take(operation: &mut Operation, shapes: &mut Shapes) {
        operation.body = Some(shapes.taken::<T>());
        operation.refuses(&[
            StatusCode::BAD_REQUEST,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ]);
    }
}

impl<T: JsonSchema> Takes for MaybeBody<T> {
    fn take(operation: &mut Operation, shapes: &mut Shapes) {
        Body::<T>::take(operation, shapes);
        operation.may_be_empty = true;
    }
}

impl Takes for Offered {
    fn take(operation: &mut Operation, shapes: &mut Shapes) {
        Body::<Pipeline>::take(operation, shapes);
    }
}

impl Takes for Any {
    fn take(operation: &mut Operation, _: &mut Shapes) {
        operation.body = Some(json!({ "description": "JSON of any shape." }));
        operation.may_be_empty = true;
        operation.refuses(&[
            StatusCode::BAD_REQUEST,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ]);
    }
}

impl Takes for IdempotencyKey {
    fn take(operation: &mut Operation, _: &mut Shapes) {
        let shape = json!({
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_KEY,
            "description": "The same key and request again are answered with what they made before.",
        });
        let parameter = parameter("header", IDEMPOTENCY_KEY, false, shape);
        operation.parameters.push(parameter);
        operation.refuses(&[StatusCode::BAD_REQUEST, StatusCode::CONFLICT]);
    }
}

impl Takes for MayMatch {
    fn take(operation: &mut Operation, _: &mut Shapes) {
        let shape = json!({
            "type": "string",
            "pattern": r#"^"[0-9]{1,19}"$"#,
            "description": "The `ETag` of what is removed. Without it whatever is there goes.",
        });
        let parameter = parameter("header", "If-Match", false, shape);
        operation.parameters.push(parameter);
        operation.refuses(&[StatusCode::BAD_REQUEST, StatusCode::PRECONDITION_FAILED]);
    }
}

impl Takes for IfMatch {
    fn take(operation: &mut Operation, _: &mut Shapes) {
        let shape = json!({
            "type": "string",
            "pattern": r#"^"[0-9]{1,19}"$"#,
            "description": "The `ETag` of what is changed.",
        });
        operation
            .parameters
            .push(parameter("header", "If-Match", true, shape));
        operation.refuses(&[
            StatusCode::BAD_REQUEST,
            StatusCode::PRECONDITION_FAILED,
            StatusCode::PRECONDITION_REQUIRED,
        ]);
    }
}

impl<T: JsonSchema> Gives for axum::Json<T> {
    fn give(operation: &mut Operation, shapes: &mut Shapes) {
        let shape = shapes.given::<T>();
        operation
            .answers
            .insert(StatusCode::OK.as_u16(), Some(shape));
    }
}

/// Which status it is the route says.
impl<T: Gives> Gives for (StatusCode, T) {
    fn give(operation: &mut Operation, shapes: &mut Shapes) {
        T::give(operation, shapes);
    }
}

/// How it refuses its arguments and the path tell.
impl<T: Gives> Gives for Result<T, Problem> {
    fn give(operation: &mut Operation, shapes: &mut Shapes) {
        T::give(operation, shapes);
    }
}

/// A parameter object. Texts that are not there are not `null` but left out.
pub(super) fn parameter(place: &str, name: &str, required: bool, shape: Value) -> Value {
    let mut shape = without_null(shape);
    let description = shape
        .as_object_mut()
        .and_then(|shape| shape.remove("description"));
    let mut parameter = Map::new();
    parameter.insert("name".into(), json!(name));
    parameter.insert("in".into(), json!(place));
    parameter.insert("required".into(), json!(required));
    if let Some(description) = description {
        parameter.insert("description".into(), description);
    }
    if shape["type"] == "array" {
        // Several values stand in one text, with commas between.
        parameter.insert("style".into(), json!("form"));
        parameter.insert("explode".into(), json!(false));
    }
    parameter.insert("schema".into(), shape);
    Value::Object(parameter)
}

fn without_null(mut shape: Value) -> Value {
    if shape["default"].is_null()
        && let Some(shape) = shape.as_object_mut()
    {
        shape.remove("default");
    }
    if let Some(types) = shape["type"].as_array() {
        let others: Vec<_> = types.iter().filter(|kind| *kind != "null").collect();
        if let [only] = others[..] {
            shape["type"] = only.clone();
        }
    }
    shape
}
