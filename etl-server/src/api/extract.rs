//! What requests say, read strictly: what is not understood is refused and never left out.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use etl_core::model::{Cursor, PageRequest};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::identity::Principal;

/// The header by which a request that is sent again is known.
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// How long such a key may be, in bytes.
pub(super) const LONGEST_KEY: usize = 200;
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

/// The two variables of the path, as [`Id`].
#[derive(Debug)]
pub(super) struct Ids<A, B>(pub(super) A, pub(super) B);

impl<A: FromStr, B: FromStr, S: Send + Sync> FromRequestParts<S> for Ids<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let (first, second) = path.map_err(|_| Problem::not_found())?.0;
        match (first.parse(), second.parse()) {
            (Ok(first), Ok(second)) => Ok(Self(first, second)),
            _ => Err(Problem::not_found()),
        }
    }
}

/// The version that a change is made to: `If-Match` with an `ETag` that was told.
#[derive(Debug)]
pub(super) struct IfMatch(pub(super) u64);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        matched(parts)?.map(Self).ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "say which version you change: If-Match with the ETag of what you read",
            )
        })
    }
}

/// The version that is removed, if it is said: [`IfMatch`], or whatever is there.
#[derive(Debug)]
pub(super) struct MayMatch(pub(super) Option<u64>);

impl<S: Sync> FromRequestParts<S> for MayMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        matched(parts).map(Self)
    }
}

/// The one tag of `If-Match`.
fn matched(parts: &Parts) -> Result<Option<u64>, Problem> {
    let mut all = parts.headers.get_all(header::IF_MATCH).iter();
    let only = match (all.next(), all.next()) {
        (None, _) => return Ok(None),
        (Some(only), None) => only.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => "",
    };
    let tag = only.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let version = tag.filter(|tag| tag.bytes().all(|byte| byte.is_ascii_digit()));
    let version = version.and_then(|tag| tag.parse().ok());
    version.map(Some).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "If-Match is one ETag as it was told: a number in quotes",
        )
    })
}

/// By which a request that is sent again is known: `Idempotency-Key`.
#[derive(Debug)]
pub(super) struct IdempotencyKey(Option<String>);

impl IdempotencyKey {
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The key as the store keeps it: nobody meets the keys of others.
    pub(super) fn of(self, principal: &Principal) -> Option<String> {
        self.0.map(|key| format!("{}/{key}", principal.user))
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut all = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let only = match (all.next(), all.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(only), None) => only.to_str().ok(),
            (Some(_), Some(_)) => None,
        };
        let key = only.filter(|key| (1..=LONGEST_KEY).contains(&key.len()));
        let key = key.map(|key| Self(Some(key.to_owned())));
        key.ok_or_else(|| {
            let detail =
                format!("{IDEMPOTENCY_KEY} is one text of 1 to {LONGEST_KEY} plain characters");
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })
    }
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Part {
    #[schemars(with = "Limit")]
    pub(super) limit: Option<String>,
    pub(super) cursor: Option<String>,
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
