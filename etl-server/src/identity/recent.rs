//! What was found a moment ago, so that it need not be looked for at every request. How long a moment is bounds how long what was
//! taken from somebody still counts.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long something is known. Whoever watches is looked at each second, so that what was taken from somebody counts for at most five.
pub(super) const MOMENT: Duration = Duration::from_secs(4);
/// How many things are.
const MOST: usize = 10_000;

/// Values by their keys, for a moment.
#[derive(Debug)]
pub(super) struct Recent<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let known = self.known();
        let (since, value) = known.get(key)?;
        (since.elapsed() < MOMENT).then(|| value.clone())
    }

    /// Notes what was found by a look that began then.
    pub(super) fn note(&self, key: K, value: V, looked_at: Instant) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.retain(|_, (since, _)| since.elapsed() < MOMENT);
            // It is only a matter of looking again.
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(key, (looked_at, value));
    }

    pub(super) fn forget(&self, is_meant: impl Fn(&K, &V) -> bool) {
        self.known().retain(|key, (_, value)| !is_meant(key, value));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<K, (Instant, V)>> {
        // Values are put in whole: a panic of another thread leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_found_is_known_for_a_moment_from_when_it_was_looked_for() {
        let recent = Recent::new();
        let looked_at = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        recent.note("ana", 1, looked_at);
        assert_eq!(recent.get(&"ana"), Some(1));
        assert_eq!(recent.get(&"bia"), None);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(recent.get(&"ana"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_bounded_and_can_be_forgotten() {
        let recent = Recent::new();
        for key in 0..3 * MOST {
            recent.note(key, (), Instant::now());
        }
        assert!(recent.known().len() <= MOST);
        let last = 3 * MOST - 1;
        assert_eq!(recent.get(&last), Some(()));
        recent.forget(|key, ()| *key == last);
        assert_eq!(recent.get(&last), None);
    }
}
