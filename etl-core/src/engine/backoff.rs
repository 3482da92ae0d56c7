//! How long to wait before the next attempt.

use std::time::Duration;

use crate::model::{RetryPolicy, StepKey, spread};

/// The longest wait that another side is granted. A number that is wrong must not put a job to sleep for years.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// The wait after `failures` failed attempts: the policy's ceiling, with jitter a random part of it, and never less than
/// what the other side asked for, within a day.
///
/// `seed` is the job's own, so that a run is a function of its inputs.
pub(super) fn delay(
    policy: &RetryPolicy,
    failures: u32,
    retry_after: Option<Duration>,
    seed: u64,
    key: StepKey,
) -> Duration {
    let ceiling = policy.ceiling(failures);
    let wait = if policy.jitter {
        ceiling.mul_f64(fraction(seed, key, failures))
    } else {
        ceiling
    };
    wait.max(retry_after.unwrap_or(Duration::ZERO).min(LONGEST_ASKED))
}

/// A number in [0, 1), another one for each attempt.
fn fraction(seed: u64, key: StepKey, failures: u32) -> f64 {
    let item = key.item.map_or(u64::MAX, u64::from);
    spread::fraction(seed, [u64::from(key.step), item, u64::from(failures)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_side_asks_for_is_granted_within_a_day() {
        let policy = RetryPolicy::default();
        let asked = |hours| {
            delay(
                &policy,
                1,
                Some(Duration::from_hours(hours)),
                7,
                StepKey::step(0),
            )
        };
        assert_eq!(asked(2), Duration::from_hours(2));
        assert_eq!(asked(1_000_000), Duration::from_hours(24));
    }

    #[test]
    fn without_jitter_the_delay_doubles_up_to_its_maximum() {
        let policy = RetryPolicy {
            base_delay_seconds: 1.0,
            max_delay_seconds: 10.0,
            jitter: false,
        };
        let delays: Vec<u64> = (1..=6)
            .map(|failures| delay(&policy, failures, None, 7, StepKey::step(0)).as_secs())
            .collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn with_jitter_delays_spread_over_the_whole_range_and_never_pass_the_ceiling() {
        let policy = RetryPolicy {
            base_delay_seconds: 8.0,
            max_delay_seconds: 60.0,
            jitter: true,
        };
        let delays: Vec<f64> = (0..1000)
            .map(|seed| delay(&policy, 1, None, seed, StepKey::item(3, 4)).as_secs_f64())
            .collect();
        assert!(delays.iter().all(|delay| (0.0..8.0).contains(delay)));
        let below_half = delays.iter().filter(|delay| **delay < 4.0).count();
        assert!(
            (400..600).contains(&below_half),
            "{below_half} of 1000 in the lower half"
        );
    }

    #[test]
    fn what_the_other_side_asks_for_is_the_least() {
        let policy = RetryPolicy::default();
        let asked = Duration::from_secs(90);
        assert_eq!(delay(&policy, 1, Some(asked), 1, StepKey::step(0)), asked);
    }

    #[test]
    fn absurd_numbers_give_a_finite_delay() {
        let policy = RetryPolicy {
            base_delay_seconds: f64::MAX,
            max_delay_seconds: f64::MAX,
            jitter: true,
        };
        assert_eq!(
            delay(&policy, u32::MAX, None, 0, StepKey::step(0)),
            Duration::ZERO
        );
        let policy = RetryPolicy {
            base_delay_seconds: f64::NAN,
            max_delay_seconds: 5.0,
            jitter: false,
        };
        assert!(delay(&policy, 3, None, 0, StepKey::step(0)) <= Duration::from_secs(5));
    }
}
