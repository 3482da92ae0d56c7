//! Rows that can't be read: those behind them must not wait for them, so that they are looked at less and less often.

use std::time::Duration;

use etl_core::model::Timestamp;

use crate::fault::Result;
use crate::rows::{Columns, time};

/// The longest time for which a row is put off: a newer program may read it, and has to come to it before a fire counts as missed
/// (five minutes), also if older ones look first a few times.
const LONGEST: Duration = Duration::from_secs(30);

/// Rows that can't be read, each with the time until which it is passed over.
#[derive(Debug, Default)]
pub struct PutOff {
    /// Schedules: the pipeline, until when, and how often it was put off when it was looked at.
    pub schedules: Vec<(String, String, i64)>,
    /// Hooks: the job, the position, until when, and how often.
    pub hooks: Vec<(String, i64, String, i64)>,
}

impl PutOff {
    /// Adds a schedule; `id` and `times` are the columns with its pipeline and with how often it was put off.
    pub fn schedule(
        &mut self,
        row: &impl Columns,
        (id, times): (usize, usize),
        now: Timestamp,
    ) -> Result<()> {
        let times = row.int(times)?;
        let until = until(now, times);
        self.schedules.push((row.str(id)?.into(), until, times));
        Ok(())
    }

    /// Adds a hook; `job`, `position` and `times` are the columns with its job, its position, and with how often it was put off.
    pub fn hook(
        &mut self,
        row: &impl Columns,
        (job, position, times): (usize, usize, usize),
        now: Timestamp,
    ) -> Result<()> {
        let times = row.int(times)?;
        let until = until(now, times);
        let job = row.str(job)?.into();
        self.hooks.push((job, row.int(position)?, until, times));
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.schedules.is_empty() && self.hooks.is_empty()
    }
}

/// Until when a row is passed over that was put off so often before: for a second, and then twice as long each time.
fn until(now: Timestamp, times: i64) -> String {
    let times = u32::try_from(times).unwrap_or(u32::MAX);
    let wait = Duration::from_secs(2_u64.saturating_pow(times)).min(LONGEST);
    time(now + wait)
}
