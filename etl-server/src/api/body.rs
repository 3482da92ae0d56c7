//! Bodies, read strictly: one JSON document of the right shape, and every fault of another one with its place.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use etl_core::document::{Shape, Templates};
use etl_core::model::{Fault, Pipeline};
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, de};
use serde_json::{Map, Number, Value};

use super::Api;
use super::problem::Problem;
use super::receive::LARGEST_BODY;

/// How deep lists and objects may lie in one another.
const DEEPEST: usize = 64;

/// The body as what `T` reads. `T` should deny unknown fields.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned + JsonSchema + 'static,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let value = json(request).await?;
        fit(value.ok_or_else(not_json)?).map(Self)
    }
}

/// The body as what `T` reads, or without a body what `T` is by default.
#[derive(Debug)]
pub(super) struct MaybeBody<T>(pub(super) T);

impl<T, S> FromRequest<S> for MaybeBody<T>
where
    T: DeserializeOwned + JsonSchema + Default + 'static,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        match json(request).await? {
            Some(value) => fit(value).map(Self),
            None => Ok(Self(T::default())),
        }
    }
}

/// The body as JSON of any shape, if there is one.
#[derive(Debug)]
pub(super) struct Any(pub(super) Option<Value>);

impl<S: Send + Sync> FromRequest<S> for Any {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        json(request).await.map(Self)
    }
}

/// The body as a pipeline document without a fault.
#[derive(Debug)]
pub(super) struct Offered(pub(super) Pipeline);

impl FromRequest<Arc<Api>> for Offered {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let value = json(request).await?.ok_or_else(not_json)?;
        let checked = etl_core::plan::check_value(value, &api.registry);
        checked.map(Self).map_err(Problem::unfit)
    }
}

/// The body, if there is one.
async fn json(request: Request) -> Result<Option<Value>, Problem> {
    let is_json = is_json(request.headers());
    let is_said = request.headers().contains_key(header::CONTENT_TYPE);
    let body = to_bytes(request.into_body(), LARGEST_BODY).await;
    let body = body.map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "the body did not arrive as a whole",
        )
    })?;
    if body.is_empty() && !is_said {
        return Ok(None);
    }
    if !is_json {
        return Err(not_json());
    }
    parsed(&body).map(Some)
}

fn not_json() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the body has to be JSON: Content-Type: application/json",
    )
}

/// `application/json`, perhaps with a character set, of which JSON has one.
fn is_json(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return false;
    };
    let Ok(only) = only.to_str() else {
        return false;
    };
    let (kind, parameters) = only.split_once(';').unwrap_or((only, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    kind.trim().eq_ignore_ascii_case("application/json")
        && matches!(&*parameters, "" | "charset=utf-8" | "charset=\"utf-8\"")
}

fn parsed(body: &[u8]) -> Result<Value, Problem> {
    parse(body).map_err(|error| {
        let detail = format!(
            "the body is not JSON as it is taken here: line {}, column {}: {}",
            error.line(),
            error.column(),
            in_words(&error)
        );
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

fn fit<T: DeserializeOwned + JsonSchema + 'static>(value: Value) -> Result<T, Problem> {
    let wanted = wanted::<T>()?;
    let faults = wanted.shape.faults(&value);
    if !faults.is_empty() {
        let told = faults
            .into_iter()
            .map(|fault| wanted.without_secrets(fault));
        return Err(Problem::unfit(told));
    }
    serde_json::from_value(value).map_err(|error| Problem::unfit_because(error.to_string()))
}

/// What is wrong, without the place, which is told before.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// What a type reads.
#[derive(Debug)]
struct Wanted {
    shape: Shape,
    /// Pointers of what is written and never told.
    secrets: Vec<String>,
}

impl Wanted {
    fn of<T: JsonSchema>() -> Result<Self, String> {
        let schema = schemars::schema_for!(T).to_value();
        let properties = schema["properties"].as_object().into_iter().flatten();
        let is_secret =
            |property: &Value| property["writeOnly"] == true || property["format"] == "password";
        let secrets = properties.filter(|(_, property)| is_secret(property));
        Ok(Self {
            secrets: secrets.map(|(name, _)| format!("/{name}")).collect(),
            shape: Shape::of::<T>(Templates::AreText)?,
        })
    }

    /// A fault quotes what is wrong, which is not for logs and screens if it is a secret.
    fn without_secrets(&self, fault: Fault) -> Fault {
        let is_below = |secret: &String| {
            let rest = fault.pointer.strip_prefix(secret.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if self.secrets.iter().any(is_below) {
            return Fault::new(fault.pointer, "it is not what is asked for here");
        }
        fault
    }
}

/// What is wanted by types: each is made once.
static WANTED: LazyLock<RwLock<HashMap<TypeId, Arc<Wanted>>>> = LazyLock::new(RwLock::default);

fn wanted<T: JsonSchema + 'static>() -> Result<Arc<Wanted>, Problem> {
    let id = TypeId::of::<T>();
    let known = WANTED.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(wanted) = known.get(&id) {
        return Ok(Arc::clone(wanted));
    }
    drop(known);
    let wanted = Wanted::of::<T>().map_err(|error| {
        tracing::error!(error, "a type of the API has no schema");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server is wrong here",
        )
    })?;
    let mut known = WANTED.write().unwrap_or_else(PoisonError::into_inner);
    Ok(Arc::clone(known.entry(id).or_insert_with(|| wanted.into())))
}

/// One JSON document, without keys that come twice and not too deep.
fn parse(body: &[u8]) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads a value that lies so deep.
#[derive(Debug, Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == DEEPEST {
            return Err(E::custom(format!("more than {DEEPEST} levels deep")));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(deeper)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} comes twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Sent {
        name: String,
        count: Option<u32>,
        inner: Option<Box<Sent>>,
    }

    async fn refused(problem: Problem) -> (u16, Value) {
        let response = problem.into_response();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), LARGEST_BODY).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn of(content_type: &str, body: &str) -> Result<Sent, (u16, Value)> {
        let request = Request::post("/")
            .header("content-type", content_type)
            .body(body.to_owned().into())
            .unwrap();
        match Body::<Sent>::from_request(request, &()).await {
            Ok(Body(wanted)) => Ok(wanted),
            Err(problem) => Err(refused(problem).await),
        }
    }

    #[tokio::test]
    async fn a_body_is_json_and_says_so() {
        let body = r#"{"name":"a"}"#;
        for good in ["application/json", "Application/JSON; charset=UTF-8"] {
            assert_eq!(of(good, body).await.unwrap().name, "a");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/json, text/plain",
            "application/jsonp",
            "application/json; charset=latin1",
            "",
        ] {
            assert_eq!(of(bad, body).await.unwrap_err().0, 415, "{bad}");
        }
        let unsaid = Request::post("/").body(body.into()).unwrap();
        let problem = Body::<Sent>::from_request(unsaid, &()).await;
        assert_eq!(refused(problem.unwrap_err()).await.0, 415);
    }

    #[tokio::test]
    async fn what_is_not_json_is_told_with_its_place() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let deeper = "[".repeat(100_000);
        for (body, told) in [
            ("", "EOF"),
            ("{", "EOF"),
            ("{}{}", "trailing"),
            ("{'name':1}", "key must be a string"),
            ("{\"name\":1e400}", "out of range"),
            ("{\"name\":\"a\",\"name\":\"b\"}", "\"name\" comes twice"),
            ("{\"inner\":{\"x\":1,\"\\u0078\":2}}", "\"x\" comes twice"),
            ("{\"name\":\"\\ud800\"}", "hex escape"),
            (&deep, "64 levels"),
            (&deeper, "64 levels"),
        ] {
            let (status, problem) = of("application/json", body).await.unwrap_err();
            let detail = problem["detail"].as_str().unwrap();
            assert_eq!(status, 400, "{detail}");
            assert!(detail.contains("line 1, column "), "{detail}");
            assert!(detail.contains(told), "{detail}");
        }
    }

    #[tokio::test]
    async fn every_fault_of_the_shape_is_told_by_its_pointer() {
        let body = json!({ "count": -1, "inner": { "name": 5, "nam/e": 1 }, "role": "admin" });
        let (status, problem) = of("application/json", &body.to_string()).await.unwrap_err();
        assert_eq!(status, 422);
        let errors = problem["errors"].as_array().unwrap();
        let pointers: Vec<_> = errors
            .iter()
            .map(|fault| fault["pointer"].as_str().unwrap())
            .collect();
        for pointer in ["", "/count", "/inner/name", "/inner/nam~1e", "/role"] {
            assert!(pointers.contains(&pointer), "{pointer}: {problem}");
        }
        // A list is no object, whatever is in it.
        assert_eq!(
            of("application/json", r#"["a",1,null]"#)
                .await
                .unwrap_err()
                .0,
            422
        );
        assert_eq!(of("application/json", "null").await.unwrap_err().0, 422);
    }
}
