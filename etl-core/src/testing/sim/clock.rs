//! The clocks of a run. All of them go with tokio's paused time; hosts are ahead or behind by a constant.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::Clock;
use crate::model::Timestamp;

/// 2024-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::from_seconds(1_704_067_200);

/// A clock of a run.
#[derive(Debug)]
pub(super) struct SimClock {
    began: Instant,
    skew_ms: i64,
    /// Shows a time a little after its own: for planted bugs.
    hasty: AtomicBool,
}

impl SimClock {
    pub(super) fn new(began: Instant, skew_ms: i64) -> Self {
        Self {
            began,
            skew_ms,
            hasty: AtomicBool::new(false),
        }
    }

    pub(super) fn be_hasty(&self, hasty: bool) {
        self.hasty.store(hasty, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let now = BEGINNING + self.began.elapsed();
        let skew = Duration::from_millis(self.skew_ms.unsigned_abs());
        let now = if self.skew_ms < 0 {
            now - skew
        } else {
            now + skew
        };
        if self.hasty.load(Ordering::Relaxed) {
            now + Duration::from_secs(12)
        } else {
            now
        }
    }
}
