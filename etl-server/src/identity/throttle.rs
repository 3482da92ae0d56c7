//! How often sign-ins may fail: from one address, from all of them, and of one user, whether there is such a user or not, so that it
//! can't be told. Counts are this process's own. The store counts for each user too, over all processes, and has the last word; but
//! what it says is never told by another answer than that of a wrong password.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etl_core::model::{TokenHash, login_delay};
use tokio::time::Instant;

/// How many sign-ins may fail in an hour that come from one address.
const BY_ADDRESS: u32 = 50;
/// How many may fail in an hour in all. It is only reached by who tries from many addresses.
const IN_ALL: u32 = 1_000;
const HOUR: Duration = Duration::from_hours(1);
/// How many addresses are counted for. More than that at once are only counted in all.
const MOST: usize = 100_000;

/// Counts what fails.
#[derive(Debug)]
pub(super) struct Throttle(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    addresses: HashMap<IpAddr, Bucket>,
    all: Bucket,
    users: HashMap<TokenHash, Guessed>,
}

/// Failures that drain off evenly over an hour.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// When the last of them is gone.
    empty_at: Option<Instant>,
}

/// Somebody whose password is guessed, by the rule that the store has.
#[derive(Debug)]
struct Guessed {
    failures: u32,
    not_before: Instant,
}

impl Bucket {
    fn is_empty(&self, now: Instant) -> bool {
        self.empty_at.is_none_or(|at| at <= now)
    }

    /// How long it is until another one fits in.
    fn wait(&self, most: u32, now: Instant) -> Option<Duration> {
        let each = HOUR / most;
        let fill = self.empty_at?.saturating_duration_since(now);
        let over = (fill + each).saturating_sub(HOUR);
        (!over.is_zero()).then_some(over)
    }

    fn add(&mut self, most: u32, now: Instant) {
        let from = self.empty_at.map_or(now, |at| at.max(now));
        self.empty_at = Some(from + HOUR / most);
    }

    fn take_back(&mut self, most: u32) {
        let before = self.empty_at.and_then(|at| at.checked_sub(HOUR / most));
        self.empty_at = before;
    }
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Begins a try. It counts as failed until it is [given back](Self::succeeded), so that those made at the same time are all
    /// counted before one is looked at.
    ///
    /// # Errors
    /// How long nothing is looked at.
    pub(super) fn admit(&self, address: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        let address = network(address);
        let mut counts = self.counts();
        let of_address = counts.addresses.get(&address).copied().unwrap_or_default();
        let waits = [
            of_address.wait(BY_ADDRESS, now),
            counts.all.wait(IN_ALL, now),
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(wait);
        }
        counts.all.add(IN_ALL, now);
        make_room(&mut counts.addresses, |bucket| bucket.is_empty(now));
        if counts.addresses.len() < MOST || counts.addresses.contains_key(&address) {
            counts
                .addresses
                .entry(address)
                .or_default()
                .add(BY_ADDRESS, now);
        }
        Ok(())
    }

    /// A try did not fail.
    pub(super) fn succeeded(&self, address: IpAddr) {
        let mut counts = self.counts();
        counts.all.take_back(IN_ALL);
        if let Some(bucket) = counts.addresses.get_mut(&network(address)) {
            bucket.take_back(BY_ADDRESS);
        }
    }

    /// Begins a guess at a user's password. It counts as failed until it is [forgiven](Self::forgive).
    ///
    /// # Errors
    /// How long nothing is looked at.
    pub(super) fn admit_guess(&self, user: TokenHash) -> Result<(), Duration> {
        let now = Instant::now();
        let mut counts = self.counts();
        make_room(&mut counts.users, |guessed| {
            guessed.not_before + HOUR <= now
        });
        if counts.users.len() >= MOST && !counts.users.contains_key(&user) {
            return Ok(());
        }
        let guessed = counts.users.entry(user).or_insert(Guessed {
            failures: 0,
            not_before: now,
        });
        let wait = guessed.not_before.saturating_duration_since(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        guessed.failures = guessed.failures.saturating_add(1);
        guessed.not_before = now + login_delay(guessed.failures);
        Ok(())
    }

    /// The store has counted the guess as well: the wait begins then, so that it is over there when it is over here.
    pub(super) fn guessed(&self, user: TokenHash) {
        let mut counts = self.counts();
        if let Some(guessed) = counts.users.get_mut(&user) {
            let until = Instant::now() + login_delay(guessed.failures);
            guessed.not_before = guessed.not_before.max(until);
        }
    }

    /// The user has signed in: what failed before is forgotten.
    pub(super) fn forgive(&self, user: TokenHash) {
        self.counts().users.remove(&user);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room<K: Hash + Eq, V>(counted: &mut HashMap<K, V>, is_over: impl Fn(&V) -> bool) {
    if counted.len() >= MOST {
        counted.retain(|_, value| !is_over(value));
    }
}

/// Who has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            IpAddr::V6(bits.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::identity::secret::hash_of;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admitted(throttle: &Throttle, address: IpAddr, tries: u32) -> u32 {
        (0..tries)
            .filter(|_| throttle.admit(address).is_ok())
            .count() as u32
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_may_fail_from_an_address_in_an_hour_and_others_are_not_held_up() {
        let throttle = Throttle::new();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(admitted(&throttle, one, 200), BY_ADDRESS);
        let wait = throttle.admit(one).unwrap_err();
        assert_eq!(wait, HOUR / BY_ADDRESS);
        assert!(throttle.admit(other).is_ok());
        advance(wait).await;
        assert_eq!(admitted(&throttle, one, 10), 1);
        let mut all = 0;
        for _ in 0..24 * 60 {
            advance(Duration::from_mins(1)).await;
            all += admitted(&throttle, one, 10);
        }
        assert!((1190..=1210).contains(&all), "{all}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_succeeds_is_not_counted() {
        let throttle = Throttle::new();
        let one = address("192.0.2.1");
        for _ in 0..2 * IN_ALL {
            throttle.admit(one).unwrap();
            throttle.succeeded(one);
        }
        assert_eq!(admitted(&throttle, one, 200), BY_ADDRESS);
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_have_one_bound() {
        let throttle = Throttle::new();
        let from = |host: u32| IpAddr::V4((0x0a00_0000 + host).into());
        let all: u32 = (0..3000)
            .map(|host| admitted(&throttle, from(host), 1))
            .sum();
        assert_eq!(all, IN_ALL);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_network_is_one_address_and_a_mapped_one_is_its_own() {
        let throttle = Throttle::new();
        assert_eq!(admitted(&throttle, address("2001:db8::1"), 30), 30);
        assert_eq!(admitted(&throttle, address("2001:db8::ffff:2"), 30), 20);
        assert_eq!(admitted(&throttle, address("2001:db8:0:1::1"), 1), 1);
        assert_eq!(admitted(&throttle, address("192.0.2.1"), 30), 30);
        assert_eq!(admitted(&throttle, address("::ffff:192.0.2.1"), 30), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn whose_password_is_guessed_waits_longer_each_time_until_it_was_right() {
        let throttle = Throttle::new();
        let user = hash_of(b"ana@example.org");
        for _ in 0..5 {
            assert_eq!(throttle.admit_guess(user), Ok(()));
        }
        assert_eq!(throttle.admit_guess(user), Err(Duration::from_secs(1)));
        assert!(throttle.admit_guess(hash_of(b"bia@example.org")).is_ok());
        advance(Duration::from_secs(1)).await;
        assert_eq!(throttle.admit_guess(user), Ok(()));
        // The store was slow to count it.
        advance(Duration::from_secs(1)).await;
        throttle.guessed(user);
        assert_eq!(throttle.admit_guess(user), Err(Duration::from_secs(2)));
        throttle.forgive(user);
        for _ in 0..5 {
            assert_eq!(throttle.admit_guess(user), Ok(()));
        }
    }
}
