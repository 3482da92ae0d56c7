//! How requests are taken in and when they are worked on: bounded in bytes, in time and in number.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use http_body_util::LengthLimitError;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::Problem;

/// The largest body of a request, in bytes.
pub(super) const LARGEST_BODY: usize = 1024 * 1024;
/// How long a body may take to arrive.
const SENDING: Duration = Duration::from_secs(10);
/// How long a request waits for its turn.
const WAITING: Duration = Duration::from_secs(2);
/// How long it is worked on.
const WORKING: Duration = Duration::from_secs(30);

/// The request with its whole body.
pub(super) async fn whole(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > LARGEST_BODY) {
        return Err(too_large());
    }
    let received = timeout(SENDING, to_bytes(body, LARGEST_BODY)).await;
    let received = received.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", SENDING.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    })?;
    let body = received.map_err(|error| {
        if error
            .source()
            .is_some_and(<dyn Error>::is::<LengthLimitError>)
        {
            return too_large();
        }
        Problem::new(
            StatusCode::BAD_REQUEST,
            "the body did not arrive as a whole",
        )
    })?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn too_large() -> Problem {
    let detail = format!("the body has more than {LARGEST_BODY} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// Requests are worked on so many at a time, in the order in which they came.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// Has it done when its turn has come.
    pub(super) async fn work(
        &self,
        answer: impl Future<Output = Response>,
    ) -> Result<Response, Problem> {
        let turn = timeout(WAITING, self.0.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too much is asked for at once: try again",
            ));
        };
        timeout(WORKING, answer).await.map_err(|_| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "it took too long, and whether it was done is not known: look, and try again",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::response::IntoResponse;
    use futures_util::stream;

    use super::*;

    fn sent(body: Body) -> Request {
        Request::post("/").body(body).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_bytes_and_in_time() {
        let largest = Bytes::from(vec![b' '; LARGEST_BODY]);
        let request = whole(sent(largest.clone().into())).await.unwrap();
        let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
        assert_eq!(body, largest);

        let chunks = [largest, Bytes::from_static(b"x")].map(Ok::<_, std::io::Error>);
        let larger = whole(sent(Body::from_stream(stream::iter(chunks)))).await;
        let refused = larger.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);

        let mut announced = sent(Body::empty());
        let length = (LARGEST_BODY + 1).into();
        announced
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
        let refused = whole(announced).await.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);

        let silent = stream::pending::<Result<Bytes, std::io::Error>>();
        let refused = whole(sent(Body::from_stream(silent))).await.unwrap_err();
        assert_eq!(
            refused.into_response().status(),
            StatusCode::REQUEST_TIMEOUT
        );

        let broken = stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
        let refused = whole(sent(Body::from_stream(broken))).await.unwrap_err();
        assert_eq!(refused.into_response().status(), StatusCode::BAD_REQUEST);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_for_a_turn_is_told_to_come_again() {
        let turns = Turns::new(1);
        let slow = turns.work(async {
            tokio::time::sleep(WAITING * 2).await;
            StatusCode::OK.into_response()
        });
        let second = turns.work(async { StatusCode::OK.into_response() });
        let (slow, second) = tokio::join!(slow, second);
        assert_eq!(slow.unwrap().status(), StatusCode::OK);
        let refused = second.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["retry-after"], "1");
        let endless = turns.work(std::future::pending()).await;
        let refused = endless.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
