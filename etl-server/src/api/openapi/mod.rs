//! The API's description in OpenAPI 3.1, made from the table of routes and the types of its handlers: what is answered and what
//! is described can't come apart.

mod merge;
mod shape;

use std::sync::LazyLock;

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::route::{Access, Route};
use merge::Merged;
pub(super) use shape::{Described, Gives, Operation, Shapes, Takes};

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    vec![Route::known("/api/v1/openapi.json", describe).says("This description")]
}

/// The document, as text that people can read.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&document(&super::routes()))
        .unwrap_or_else(|_| unreachable!("a JSON value is text"));
    text.push('\n');
    text
});

/// What every route may answer beside what its own arguments refuse.
const ALWAYS: [StatusCode; 3] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// What every route may answer that is sent something.
const SENDING: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::CONFLICT,
    StatusCode::PAYLOAD_TOO_LARGE,
];

/// The document as text.
pub(crate) fn text() -> &'static str {
    &DOCUMENT
}

/// `GET /openapi.json`: this description.
pub(super) async fn describe() -> Document {
    Document
}

/// The document as an answer.
pub(super) struct Document;

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], text()).into_response()
    }
}

impl Gives for Document {
    fn give(operation: &mut Operation, _: &mut Shapes) {
        let any_object = json!({ "type": "object" });
        operation
            .answers
            .insert(StatusCode::OK.as_u16(), Some(any_object));
    }
}

fn document(routes: &[Route]) -> Value {
    let mut shapes = Shapes::new();
    let problem = shapes.given::<Problem>();
    let described: Vec<_> = routes
        .iter()
        .map(|route| {
            let mut operation = Operation::default();
            (route.describe)(&mut operation, &mut shapes);
            (route, operation)
        })
        .collect();
    let merged = Merged::of(shapes);
    let mut paths = Map::new();
    for (route, operation) in described {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = object(route, operation, &merged, &problem);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "etl",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Pipelines, their jobs, and who may do what to them. Times are RFC 3339 in UTC, ids are UUIDs. \
                Lists go on at `next_cursor`. What goes wrong is a problem (RFC 9457).",
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": merged.schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token or an API key.",
                }
            },
        },
    })
}

/// The operation object of a route.
fn object(route: &Route, operation: Operation, merged: &Merged, problem: &Value) -> Value {
    let (module, function) = route.name;
    let mut object = Map::new();
    object.insert("tags".into(), json!([module]));
    object.insert("operationId".into(), json!(format!("{module}_{function}")));
    object.insert("summary".into(), json!(route.summary));
    let mut parameters: Vec<_> = variables(route.path)
        .zip(operation.variables)
        .map(|(name, shape)| shape::parameter("path", name, true, shape))
        .collect();
    parameters.extend(operation.parameters);
    if !parameters.is_empty() {
        let mut parameters = Value::Array(parameters);
        merged.point(&mut parameters);
        object.insert("parameters".into(), parameters);
    }
    if let Some(mut body) = operation.body {
        merged.point(&mut body);
        let content = json!({ "application/json": { "schema": body } });
        object.insert(
            "requestBody".into(),
            json!({ "required": !operation.may_be_empty, "content": content }),
        );
    }
    let mut refusals = operation.refusals;
    refusals.extend(ALWAYS.map(|status| status.as_u16()));
    refusals.insert(StatusCode::UNAUTHORIZED.as_u16());
    if route.method != Method::GET {
        refusals.extend(SENDING.map(|status| status.as_u16()));
    }
    let needs = match route.access {
        Access::Open | Access::SignedIn => None,
        Access::InPerson => Some("Needs an access token: no API key may do it.".to_owned()),
        Access::With(permission) => Some(format!("Needs the permission `{permission}`.")),
    };
    if let Some(needs) = needs {
        refusals.insert(StatusCode::FORBIDDEN.as_u16());
        object.insert("description".into(), json!(needs));
    }
    let security = match route.access {
        Access::Open => json!([]),
        _ => json!([{ "bearer": [] }]),
    };
    object.insert("security".into(), security);
    let media_type = operation.media_type;
    let mut answers = operation.answers;
    if let Some(shape) = answers.values().next().cloned() {
        let also = route.also.iter();
        answers.extend(also.map(|status| (status.as_u16(), shape.clone())));
    }
    let mut responses = Map::new();
    for (status, shape) in answers {
        let content = shape.map(|shape| json!({ media_type: { "schema": shape } }));
        responses.insert(status.to_string(), response(status, content));
    }
    for status in refusals {
        let content = json!({ "application/problem+json": { "schema": problem } });
        responses.insert(status.to_string(), response(status, Some(content)));
    }
    object.insert("responses".into(), Value::Object(responses));
    Value::Object(object)
}

fn response(status: u16, content: Option<Value>) -> Value {
    let status = StatusCode::from_u16(status).ok();
    let reason = status.and_then(|status| status.canonical_reason());
    let mut response = json!({ "description": reason.unwrap_or_default() });
    if let Some(content) = content {
        response["content"] = content;
    }
    response
}

/// The names between braces, in order.
fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes;

    /// Every text under `$ref`.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    match value {
                        Value::String(target) if key == "$ref" => found.push(target.clone()),
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_described_and_says_what_it_does() {
        let document = document(&routes());
        for route in routes() {
            let method = route.method.as_str().to_lowercase();
            let operation = &document["paths"][route.path][&method];
            let summary = operation["summary"].as_str().unwrap();
            assert!(!summary.is_empty(), "{method} {}", route.path);
            let good = operation["responses"].as_object().unwrap();
            assert!(
                good.keys()
                    .any(|status| status.starts_with('2') || status == "101"),
                "{summary}"
            );
            let named: Vec<_> = variables(route.path).collect();
            let parameters = operation["parameters"].as_array();
            let in_path: Vec<_> = parameters
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(in_path, named, "{}", route.path);
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut names: Vec<_> = routes().iter().map(|route| route.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&routes());
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }

    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, text()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(
            committed == text(),
            "docs/openapi.json is old: run this test again with UPDATE_OPENAPI=1"
        );
    }
}
