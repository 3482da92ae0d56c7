//! The buckets of one process: what `gcra.lua` does, without a server.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Decision, Quota};

/// How many buckets there may be. Beyond that, all that have none share one for each endpoint, so that nobody gains a fresh one
/// by filling the table.
const BUCKETS: usize = 65_536;

/// How often a full table is looked through for buckets that are full again. A flood of subjects must not pay for that with each
/// call.
const TIDY_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct LocalBuckets(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// When each is full again.
    full_at: HashMap<String, Instant>,
    tidied: Option<Instant>,
}

impl Buckets {
    /// Whether there is room for one more.
    fn has_room(&mut self, now: Instant) -> bool {
        let is_due = self.tidied.is_none_or(|last| now >= last + TIDY_EVERY);
        if self.full_at.len() >= BUCKETS && is_due {
            self.tidied = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < BUCKETS
    }
}

impl LocalBuckets {
    pub(super) fn take(&self, key: String, quota: &Quota) -> Decision {
        self.take_at(key, quota, Instant::now())
    }

    fn take_at(&self, key: String, quota: &Quota, now: Instant) -> Decision {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if buckets.full_at.contains_key(&key) || buckets.has_room(now) {
            key
        } else {
            // No subject's key is so short.
            quota.endpoint().to_owned()
        };
        let full_at = buckets.full_at.get(&key).map_or(now, |at| (*at).max(now));
        let (decision, full_at) = decide(full_at - now, quota);
        if decision.is_allowed {
            buckets.full_at.insert(key, now + full_at);
        }
        decision
    }
}

/// What is said of a call to a bucket that is full after this time, and when it is full then.
fn decide(full_after: Duration, quota: &Quota) -> (Decision, Duration) {
    let (interval, span) = (quota.interval(), quota.interval() * quota.burst());
    let full_after = full_after.min(span);
    let after = full_after + interval;
    let (is_allowed, full) = if after > span {
        (false, full_after)
    } else {
        (true, after)
    };
    let left = span.saturating_sub(full).as_micros() / interval.as_micros();
    let decision = Decision {
        is_allowed,
        is_shared: false,
        limit: quota.burst(),
        remaining: u32::try_from(left).unwrap_or(u32::MAX),
        retry_after: after.saturating_sub(span),
        reset_after: full,
    };
    (decision, full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(calls: u32, seconds: u64) -> Quota {
        Quota::new("login", calls, Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn as_many_as_the_quota_at_once_and_then_evenly() {
        let (buckets, quota, now) = (LocalBuckets::default(), quota(5, 10), Instant::now());
        let take = |after: u64| {
            let at = now + Duration::from_millis(after);
            buckets.take_at("a".into(), &quota, at)
        };
        for left in (0..5).rev() {
            let allowed = take(0);
            assert!(
                allowed.is_allowed && allowed.remaining == left,
                "{allowed:?}"
            );
        }
        let refused = take(0);
        assert!(!refused.is_allowed);
        assert_eq!(refused.retry_after, Duration::from_secs(2));
        assert_eq!(refused.reset_after, Duration::from_secs(10));
        assert!(!take(1999).is_allowed);
        assert!(take(2000).is_allowed && !take(2000).is_allowed);
        // Refused calls cost nothing: after the whole period all are there again.
        let allowed = (0..10).filter(|_| take(12_000).is_allowed).count();
        assert_eq!(allowed, 5);
    }

    #[test]
    fn a_full_table_gives_nobody_a_fresh_bucket_and_forgets_what_is_over() {
        let (buckets, quota, now) = (LocalBuckets::default(), quota(1, 60), Instant::now());
        for n in 0..BUCKETS {
            assert!(
                buckets
                    .take_at(format!("ratelimit:{n}"), &quota, now)
                    .is_allowed
            );
        }
        // The last place, shared.
        assert!(
            buckets
                .take_at("ratelimit:x".into(), &quota, now)
                .is_allowed
        );
        assert!(
            !buckets
                .take_at("ratelimit:y".into(), &quota, now)
                .is_allowed
        );
        assert!(
            !buckets
                .take_at("ratelimit:0".into(), &quota, now)
                .is_allowed
        );
        // It has just been looked through: not again with each call.
        let soon = now + Duration::from_millis(500);
        assert!(
            !buckets
                .take_at("ratelimit:z".into(), &quota, soon)
                .is_allowed
        );
        assert_eq!(buckets.0.lock().unwrap().tidied, Some(now));
        let later = now + Duration::from_mins(2);
        assert!(
            buckets
                .take_at("ratelimit:y".into(), &quota, later)
                .is_allowed
        );
        assert_eq!(buckets.0.lock().unwrap().full_at.len(), 1);
    }

    #[test]
    fn a_quota_that_says_nothing_is_refused() {
        let second = Duration::from_secs(1);
        for (name, calls, period) in [
            ("", 1, second),
            ("a:b", 1, second),
            ("a", 0, second),
            ("a", 1_000_001, second),
            ("a", 10, Duration::ZERO),
            ("a", 1, Duration::MAX),
        ] {
            assert!(
                Quota::new(name, calls, period).is_err(),
                "{name} {calls} {period:?}"
            );
        }
    }
}
