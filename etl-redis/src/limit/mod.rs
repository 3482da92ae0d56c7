//! Rate limits that all processes share, and that each keeps for itself while Redis is away.

mod local;
mod quota;

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;
use uuid::Uuid;

pub use quota::{Decision, Quota};

use crate::error::{Causes, Fault};
use crate::link::Link;
use local::LocalBuckets;

/// The longest subject that stands in a key as it is.
const SUBJECT_LIMIT: usize = 96;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("gcra.lua")));

/// Limits how often a subject (an address, a user, a token) may do something.
///
/// # Contract
/// - With Redis, all processes together allow a subject no more than its [`Quota`]. The server's clock counts.
/// - Without Redis each process allows it by itself, so that N processes together allow at most N times as much. Buckets then
///   begin full.
/// - It never fails, and it takes no longer than an answer of Redis may take; nothing at all while Redis is known to be away.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    link: Option<Link>,
    local: Arc<LocalBuckets>,
    is_local: Arc<AtomicBool>,
}

impl RateLimiter {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            link: Some(link),
            local: Arc::default(),
            is_local: Arc::default(),
        }
    }

    /// Limits of this process alone, for who has no Redis.
    pub fn local() -> Self {
        Self {
            link: None,
            local: Arc::default(),
            is_local: Arc::default(),
        }
    }

    /// Takes one call of the quota, if there is one left.
    pub async fn take(&self, subject: &(impl Display + ?Sized), quota: &Quota) -> Decision {
        let subject = subject.to_string();
        // A subject is whatever a client sends; a key has a bound.
        let subject = if subject.len() > SUBJECT_LIMIT {
            Uuid::new_v5(&Uuid::NAMESPACE_OID, subject.as_bytes()).to_string()
        } else {
            subject
        };
        let Some(link) = &self.link else {
            return self
                .local
                .take(format!("{subject}:{}", quota.endpoint()), quota);
        };
        let names = link.names();
        let key = names.key(&[&"ratelimit", &subject, &quota.endpoint()]);
        match shared(link, &key, quota).await {
            Ok(decision) => {
                if self.is_local.swap(false, Ordering::Relaxed) {
                    tracing::info!("rate limits are shared again");
                }
                decision
            }
            Err(fault) => {
                if !self.is_local.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = %Causes(&fault), "rate limits are each process's own: redis is away");
                }
                self.local.take(key, quota)
            }
        }
    }
}

async fn shared(link: &Link, key: &str, quota: &Quota) -> Result<Decision, Fault> {
    let (interval, burst) = (micros(quota.interval()), quota.burst());
    let mut call = SCRIPT.prepare_invoke();
    call.key(key).arg(interval).arg(burst).arg(1);
    let (allowed, left, wait, full) = link.script::<(u8, u64, u64, u64)>(&call).await?;
    Ok(Decision {
        is_allowed: allowed == 1,
        is_shared: true,
        limit: burst,
        remaining: u32::try_from(left).unwrap_or(u32::MAX),
        retry_after: Duration::from_micros(wait),
        reset_after: Duration::from_micros(full),
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
