//! How much is allowed, and what is said of a call.

use std::time::Duration;

use crate::error::{Fault, RedisError};

/// How often something may be done: so many calls at once, and as many again in a period, evenly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    endpoint: String,
    burst: u32,
    interval: Duration,
}

impl Quota {
    /// `calls` in a `period`, for what the endpoint's name stands for.
    ///
    /// # Errors
    /// `Invalid` for a name that is empty, longer than 64 bytes or has a colon (which would make two quotas one), for no
    /// calls or more than a million, and for a period that is longer than 31 days or gives a call less than a microsecond.
    pub fn new(
        endpoint: impl Into<String>,
        calls: u32,
        period: Duration,
    ) -> Result<Self, RedisError> {
        let endpoint = endpoint.into();
        let refused = |why| Err(Fault::Value(why).of("quota"));
        if endpoint.is_empty() || endpoint.len() > 64 || endpoint.contains(':') {
            return refused("an endpoint's name has 1 to 64 bytes and no colon");
        }
        if calls == 0 || calls > 1_000_000 {
            return refused("a quota has 1 to 1,000,000 calls");
        }
        let interval = Duration::from_micros(super::micros(period) / u64::from(calls));
        if interval.is_zero() || period > Duration::from_hours(31 * 24) {
            return refused(
                "a quota's period is at most 31 days and at least a microsecond for each call",
            );
        }
        Ok(Self {
            endpoint,
            burst: calls,
            interval,
        })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How many calls are allowed at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// How long it takes until one more is allowed.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

/// Whether a call is allowed, and what its caller may be told (`Retry-After`, `RateLimit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Whether it is.
    pub is_allowed: bool,
    /// Whether all processes count together; else this one alone.
    pub is_shared: bool,
    /// How many calls are allowed at once.
    pub limit: u32,
    /// How many more are allowed now.
    pub remaining: u32,
    /// When the next one is; zero for one that is allowed.
    pub retry_after: Duration,
    /// When as many are allowed at once as the limit says.
    pub reset_after: Duration,
}
