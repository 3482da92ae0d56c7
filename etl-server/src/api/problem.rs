//! Answers about what went wrong: `application/problem+json` (RFC 9457). Never a cause of a library, never a secret: those are
//! in the log, under the same `trace_id`.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use etl_core::contract::{StoreError, StoreErrorKind, actor};
use etl_core::runtime::IntakeError;
use etl_vault::VaultError;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::identity::IdentityError;

/// How long who asks too much or too early may wait, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

const INTERNAL: &str = "the server could not do it; its log tells why under this trace_id";

/// Why a request could not be done.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// `about:blank`: the status says all that there is to tell programs.
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    errors: Vec<Fault>,
    trace_id: String,
    /// When it may be tried again, in seconds: in the head of the answer alone.
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// The request's number; one of its own where there is none.
fn number() -> String {
    let of_request = actor().and_then(|actor| actor.trace_id.clone());
    of_request.unwrap_or_else(|| Uuid::now_v7().simple().to_string())
}

/// One thing that is wrong in what was sent.
#[derive(Debug, Serialize, JsonSchema)]
struct Fault {
    /// A JSON pointer into the body, or into the query as an object.
    pointer: String,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            trace_id: number(),
            retry_after: None,
        }
    }

    /// What is not there, and what may not be seen: one answer for both.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such thing here")
    }

    /// A parameter of the query that can't be understood.
    pub(super) fn parameter(name: &str, message: impl Into<String>) -> Self {
        let mut problem = Self::new(
            StatusCode::BAD_REQUEST,
            format!("the parameter `{name}` can't be understood"),
        );
        problem.errors.push(Fault {
            pointer: format!("/{name}"),
            message: message.into(),
        });
        problem
    }

    /// A body that is JSON and says something else than is asked for.
    pub(super) fn unfit(faults: impl IntoIterator<Item = etl_core::model::Fault>) -> Self {
        let mut problem = Self::unfit_because("the body does not say what is asked for here");
        problem.errors = faults
            .into_iter()
            .map(|fault| Fault {
                pointer: fault.pointer,
                message: match fault.hint {
                    Some(hint) => format!("{}; {hint}", fault.message),
                    None => fault.message,
                },
            })
            .collect();
        problem
    }

    pub(super) fn unfit_because(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// One value of the body can't be taken.
    pub(super) fn unfit_at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::unfit([etl_core::model::Fault::new(pointer, message)])
    }

    /// What is there does not allow it.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// `If-Match` names another version than is there.
    pub(super) fn stale(version: u64) -> Self {
        let detail =
            format!("somebody else changed it: it has version {version} now, read it again");
        Self::new(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// Too much was asked for, or too early: not before so long.
    pub(super) fn wait(wait: Duration) -> Self {
        let seconds = (wait.as_secs_f64().ceil() as u32).max(1);
        Self {
            retry_after: Some(seconds),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("too many tries failed: the next is looked at in {seconds} s"),
            )
        }
    }

    /// What failed in the server: its cause is for the log, under the same `trace_id`.
    pub(super) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL);
        tracing::error!(
            error = cause,
            trace_id = problem.trace_id,
            "a request failed"
        );
        problem
    }

    /// What a list's store said: what it does not find is the cursor.
    pub(super) fn of_list(error: StoreError) -> Self {
        if error.kind == StoreErrorKind::NotFound {
            return Self::parameter("cursor", "it is not one that this list gave");
        }
        error.into()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (status, detail) = match error.kind {
            StoreErrorKind::NotFound => return Self::not_found(),
            StoreErrorKind::Stale => (
                StatusCode::PRECONDITION_FAILED,
                "somebody else changed it: read it again",
            ),
            StoreErrorKind::Unavailable | StoreErrorKind::InUse => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the store can't be reached: try again",
            ),
            StoreErrorKind::OutcomeUnknown => (
                StatusCode::SERVICE_UNAVAILABLE,
                "whether it was done is not known: look, and try again",
            ),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, INTERNAL),
        };
        let problem = Self::new(status, detail);
        let cause = error.source.as_ref().map(ToString::to_string);
        tracing::warn!(%error, cause, trace_id = problem.trace_id, "a request failed");
        problem
    }
}

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Parameters(faults) => {
                Self::unfit(faults.into_iter().map(|fault| fault.below("/parameters")))
            }
            IntakeError::KeyTaken(_) => {
                Self::conflict("the idempotency key was used for another request")
            }
            IntakeError::Store(error) => error.into(),
            _ => Self::internal(&error),
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Invalid(detail) => Self::unfit_because(detail),
            VaultError::Stale { version } => Self::stale(version),
            VaultError::Contended => {
                Self::conflict("others change the same credential at the same time: try again")
            }
            VaultError::Store(error) => error.into(),
            error => {
                let problem = Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the server can't seal or open secrets now; its log tells why under this trace_id",
                );
                tracing::error!(%error, trace_id = problem.trace_id, "a request failed");
                problem
            }
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Refused(_) => Self::new(
                StatusCode::UNAUTHORIZED,
                "what was sent does not let you in, or so much failed before that nothing is looked at for up to 15 minutes",
            ),
            IdentityError::Wait(wait) => Self::wait(wait),
            IdentityError::Crowded(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many sign in at once: try again",
            ),
            IdentityError::Conflict(detail) => Self::conflict(detail),
            IdentityError::Password(fault) => Self::unfit_because(fault),
            IdentityError::Store(error) => error.into(),
            IdentityError::Vault(_)
            | IdentityError::NoChance(_)
            | IdentityError::Unhashed(_)
            | IdentityError::Unusable(_) => Self::internal(&error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
