//! What requests say, read strictly: what is not understood is refused and never left out.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use etl_core::model::{Cursor, PageRequest};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// How many items a page has if nobody says.
const LIMIT: usize = 50;
/// How many it may have.
pub(super) const LARGEST_LIMIT: usize = 500;

/// How `limit` is described. It is read by [`page`].
pub(super) struct Limit;

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": LIMIT,
            "description": "How many items at most.",
        })
    }
}

/// The query. `T` should deny unknown fields; a parameter that comes twice is refused in any case.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|query| Self(query.0))
            .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))
    }
}

/// The one variable of the path. One that can't be an id is of nothing that is there.
#[derive(Debug)]
pub(super) struct Id<T>(pub(super) T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let text = path.map_err(|_| Problem::not_found())?.0;
        text.parse().map(Self).map_err(|_| Problem::not_found())
    }
}

/// The version that a change is made to: `If-Match` with an `ETag` that was told.
#[derive(Debug)]
pub(super) struct IfMatch(pub(super) u64);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut all = parts.headers.get_all(header::IF_MATCH).iter();
        let (Some(only), None) = (all.next(), all.next()) else {
            return Err(Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "say which version you change: If-Match with the ETag of what you read",
            ));
        };
        let only = only.to_str().unwrap_or_default();
        let tag = only.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        // A tag that nobody was told is none of now.
        let version = tag.and_then(|tag| tag.parse().ok());
        version.map(Self).ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "no version has this tag: read it again",
            )
        })
    }
}

/// A parameter of the query as what it means.
pub(super) fn parameter<T>(name: &str, text: Option<&str>) -> Result<Option<T>, Problem>
where
    T: FromStr<Err: Display>,
{
    text.map(|text| {
        text.parse()
            .map_err(|error: T::Err| Problem::parameter(name, error.to_string()))
    })
    .transpose()
}

/// The page that `limit` and `cursor` ask for.
pub(super) fn page(limit: Option<&str>, cursor: Option<String>) -> Result<PageRequest, Problem> {
    let limit = parameter("limit", limit)?.unwrap_or(LIMIT);
    if !(1..=LARGEST_LIMIT).contains(&limit) {
        let message = format!("it is a number from 1 to {LARGEST_LIMIT}");
        return Err(Problem::parameter("limit", message));
    }
    Ok(PageRequest {
        limit,
        cursor: cursor.map(Cursor),
    })
}
