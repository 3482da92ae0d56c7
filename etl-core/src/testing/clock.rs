//! Clocks that tests move.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::Clock;
use crate::model::Timestamp;

/// 2024-01-01T00:00:00Z: where test clocks begin.
const BEGINNING: Timestamp = Timestamp::from_seconds(1_704_067_200);

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// It shows this time.
    pub fn at(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.as_micros()))
    }

    /// Shows another time, earlier or later.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.as_micros(), Ordering::SeqCst);
    }

    /// Moves on by this long.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }
}

impl Default for ManualClock {
    /// It shows 2024-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(BEGINNING)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A clock that goes as tokio's does: under `#[tokio::test(start_paused = true)]` it jumps with every awaited timer, so that a
/// whole runtime runs through hours in no time.
#[derive(Debug)]
pub struct TokioClock {
    base: Timestamp,
    start: Instant,
}

impl TokioClock {
    /// It shows `base` now.
    pub fn at(base: Timestamp) -> Self {
        Self {
            base,
            start: Instant::now(),
        }
    }
}

impl Default for TokioClock {
    /// It shows 2024-01-01T00:00:00Z now.
    fn default() -> Self {
        Self::at(BEGINNING)
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.base + self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_until_it_is_moved() {
        let clock = ManualClock::default();
        assert_eq!(clock.now().to_string(), "2024-01-01T00:00:00.000000Z");
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().to_string(), "2024-01-01T00:00:01.500000Z");
        clock.set(Timestamp::from_seconds(1));
        assert_eq!(clock.now(), Timestamp::from_seconds(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tokio_clock_follows_paused_time() {
        let clock = TokioClock::default();
        let before = clock.now();
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(clock.now().since(before), Duration::from_hours(1));
    }
}
