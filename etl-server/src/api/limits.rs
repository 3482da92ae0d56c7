//! How often somebody may ask: those who have signed in by who they are, all others by their address.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use etl_redis::{Decision, Quota, RateLimiter, RedisError};

use super::problem::Problem;

/// The period of the quotas.
const MINUTE: Duration = Duration::from_mins(1);
/// How often an address may ask in a minute without having signed in.
const STRANGERS: u32 = 300;

/// The limits of the API.
#[derive(Debug)]
pub(crate) struct Limits {
    limiter: RateLimiter,
    /// `None` for as often as they like.
    known: Option<Quota>,
    strangers: Quota,
}

impl Limits {
    /// `a_minute` requests of whoever has signed in, 0 for any number.
    ///
    /// # Errors
    /// If it is more than a million.
    pub(crate) fn new(limiter: RateLimiter, a_minute: u32) -> Result<Self, RedisError> {
        let known = (a_minute > 0).then(|| Quota::new("api", a_minute, MINUTE));
        Ok(Self {
            limiter,
            known: known.transpose()?,
            strangers: Quota::new("strangers", STRANGERS, MINUTE)?,
        })
    }

    /// Counts a request of somebody who is not known.
    pub(super) async fn stranger(&self, address: IpAddr) -> Result<(), Refused> {
        let decision = self.limiter.take(&address, &self.strangers).await;
        if decision.is_allowed {
            Ok(())
        } else {
            Err(Refused(Counted(decision)))
        }
    }

    /// Counts a request of somebody who is known.
    pub(super) async fn known(&self, name: &str) -> Result<Option<Counted>, Refused> {
        let Some(quota) = &self.known else {
            return Ok(None);
        };
        let decision = self.limiter.take(name, quota).await;
        if decision.is_allowed {
            Ok(Some(Counted(decision)))
        } else {
            Err(Refused(Counted(decision)))
        }
    }
}

/// What whoever asks may know of their limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted(Decision);

impl Counted {
    /// Tells it in the headers of draft-ietf-httpapi-ratelimit-headers: those of its versions up to 7, which clients know, and
    /// the two of later ones.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Self(decision) = self;
        let (limit, left) = (decision.limit, decision.remaining);
        let reset = whole_seconds(decision.reset_after);
        let period = MINUTE.as_secs();
        for (name, value) in [
            ("ratelimit-limit", limit.to_string()),
            ("ratelimit-remaining", left.to_string()),
            ("ratelimit-reset", reset.to_string()),
            ("ratelimit-policy", format!("\"api\";q={limit};w={period}")),
            ("ratelimit", format!("\"api\";r={left};t={reset}")),
        ] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Somebody asks too often.
#[derive(Debug)]
pub(super) struct Refused(Counted);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let wait = whole_seconds(self.0.0.retry_after).max(1);
        let detail = format!("too many requests: try again in {wait} s");
        let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).into_response();
        let headers = response.headers_mut();
        headers.insert("retry-after", wait.into());
        self.0.tell(headers);
        response
    }
}

/// Rounded up: who comes back then is not too early.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
