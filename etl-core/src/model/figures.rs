//! Figures of what was done, for those who look after a deployment.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::status::{JobStatus, StepStatus};
use super::time::Timestamp;

/// What became of the jobs that were accepted in some time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct JobFigures {
    /// By the hour in which they were accepted, in order; hours without a job are left out.
    pub hours: Vec<HourFigures>,
    /// From the first claim to the end, of those that have ended.
    #[serde(flatten)]
    pub durations: Durations,
    /// Rows handled by all of them.
    pub rows_processed: u64,
    /// Bytes moved by all of them.
    pub bytes_transferred: u64,
    /// Their steps that failed for good, by class.
    pub errors: BTreeMap<String, u64>,
}

impl JobFigures {
    /// How many there are in each state.
    pub fn by_status(&self) -> BTreeMap<JobStatus, u64> {
        let mut all = BTreeMap::new();
        for (status, count) in self.hours.iter().flat_map(|hour| &hour.by_status) {
            *all.entry(*status).or_default() += count;
        }
        all
    }
}

/// The jobs that were accepted in one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HourFigures {
    /// When it begins.
    pub hour: Timestamp,
    /// How many there are in each state; states without one are left out.
    pub by_status: BTreeMap<JobStatus, u64>,
}

/// What became of the step executions of a connector.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct StepFigures {
    /// How many there are in each state; states without one are left out.
    pub by_status: BTreeMap<StepStatus, u64>,
    /// How often they were tried.
    pub attempts: u64,
    /// From the first attempt to the end, of those that have ended.
    #[serde(flatten)]
    pub durations: Durations,
    /// Rows handled by all of them.
    pub rows_processed: u64,
    /// Bytes moved by all of them.
    pub bytes_transferred: u64,
    /// Those that failed for good, by class.
    pub errors: BTreeMap<String, u64>,
}

/// How long things took, by nearest rank: of 100, the 50th and the 95th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Durations {
    /// Half did not take longer, in milliseconds.
    pub duration_p50_ms: Option<u64>,
    /// 95 of 100 did not take longer, in milliseconds.
    pub duration_p95_ms: Option<u64>,
}

impl Durations {
    /// Of these, in milliseconds.
    pub fn of(mut took: Vec<u64>) -> Self {
        took.sort_unstable();
        let rank = |percent: usize| (took.len() * percent).div_ceil(100);
        let at = |percent| took.get(rank(percent).checked_sub(1)?).copied();
        Self {
            duration_p50_ms: at(50),
            duration_p95_ms: at(95),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_one_that_was_there() {
        let of = |took: &[u64]| {
            let durations = Durations::of(took.to_vec());
            (durations.duration_p50_ms, durations.duration_p95_ms)
        };
        assert_eq!(of(&[]), (None, None));
        assert_eq!(of(&[7]), (Some(7), Some(7)));
        assert_eq!(of(&[2, 1]), (Some(1), Some(2)));
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(of(&hundred), (Some(50), Some(95)));
    }
}
