//! Answers that say more than what they hold.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::openapi::{Gives, Operation, Shapes};

/// It is done, and there is nothing to tell.
#[derive(Debug)]
pub(super) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl Gives for Done {
    fn give(operation: &mut Operation, _: &mut Shapes) {
        operation.gives(StatusCode::NO_CONTENT, None);
    }
}

/// Something of which there are versions: its version is the `ETag`, for `If-Match`.
#[derive(Debug)]
pub(super) struct Versioned<T> {
    pub(super) version: u64,
    pub(super) body: T,
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        let tag = HeaderValue::try_from(format!("\"{}\"", self.version));
        if let Ok(tag) = tag {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

impl<T: JsonSchema> Gives for Versioned<T> {
    fn give(operation: &mut Operation, shapes: &mut Shapes) {
        operation.gives(StatusCode::OK, Some(shapes.given::<T>()));
    }
}

/// Something new, and where it is from now on.
#[derive(Debug)]
pub(super) struct Created<T> {
    pub(super) location: String,
    pub(super) body: T,
}

impl<T: IntoResponse> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::CREATED, self.body).into_response();
        if let Ok(location) = HeaderValue::try_from(self.location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

impl<T: Gives> Gives for Created<T> {
    fn give(operation: &mut Operation, shapes: &mut Shapes) {
        T::give(operation, shapes);
        operation.moves(StatusCode::OK, StatusCode::CREATED);
    }
}

/// Something that is done from now on, and where to look how far it is.
#[derive(Debug)]
pub(super) struct Accepted<T> {
    pub(super) location: String,
    pub(super) body: T,
}

impl<T: IntoResponse> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::ACCEPTED, self.body).into_response();
        if let Ok(location) = HeaderValue::try_from(self.location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

impl<T: Gives> Gives for Accepted<T> {
    fn give(operation: &mut Operation, shapes: &mut Shapes) {
        T::give(operation, shapes);
        operation.moves(StatusCode::OK, StatusCode::ACCEPTED);
    }
}
