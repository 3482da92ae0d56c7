//! Step rows: how they stand, and what becomes of them.

use etl_core::model::{JobId, StepKey, StepStatus, Timestamp};
use serde::Serialize;

use crate::rows::{count, item_column, time};

/// A step row as far as its next move needs it.
#[derive(Debug, Clone, Copy)]
pub struct StepNow {
    /// Where it is.
    pub status: StepStatus,
    /// When its first attempt started.
    pub started_at: Option<Timestamp>,
    /// The number of its last checkpoint.
    pub checkpoint: Option<u64>,
}

/// A move of a step row. `None` leaves a column as it is, but for `next_run_at`, which holds for the new state alone.
#[derive(Debug, Clone, Serialize)]
pub struct StepWrite {
    job: JobId,
    step: u32,
    item: i64,
    status: &'static str,
    pub(crate) attempt: Option<u32>,
    pub(crate) lost: Option<u32>,
    pub(crate) returned: Option<u32>,
    progress: Option<u8>,
    pub(crate) next_run_at: Option<String>,
    started_at: Option<String>,
    completed_at: Option<String>,
    duration_ms: Option<i64>,
    pub(crate) output_data: Option<String>,
    pub(crate) items: Option<String>,
    pub(crate) item_count: Option<usize>,
    pub(crate) artifacts: Option<String>,
    pub(crate) rows_processed: Option<i64>,
    pub(crate) bytes_transferred: Option<i64>,
    pub(crate) metrics: Option<String>,
    pub(crate) skip_reason: Option<&'static str>,
    pub(crate) error_class: Option<&'static str>,
    pub(crate) error_message: Option<String>,
    pub(crate) error_stack: Option<String>,
}

impl StepWrite {
    /// The move of a row that stands as `now` says; the columns of time follow from the move.
    pub fn new(job: JobId, key: StepKey, now: &mut StepNow, to: StepStatus, at: Timestamp) -> Self {
        let started = (to == StepStatus::Running && now.started_at.is_none()).then_some(at);
        now.status = to;
        now.started_at = now.started_at.or(started);
        let ended = to.is_terminal();
        Self {
            job,
            step: key.step,
            item: item_column(key),
            status: to.as_str(),
            attempt: None,
            lost: None,
            returned: None,
            progress: (to == StepStatus::Success).then_some(100),
            next_run_at: None,
            started_at: started.map(time),
            completed_at: ended.then(|| time(at)),
            duration_ms: now
                .started_at
                .filter(|_| ended)
                .map(|started| millis(started, at)),
            output_data: None,
            items: None,
            item_count: None,
            artifacts: None,
            rows_processed: None,
            bytes_transferred: None,
            metrics: None,
            skip_reason: None,
            error_class: None,
            error_message: None,
            error_stack: None,
        }
    }
}

/// From one time to another, as a duration column holds it.
pub fn millis(from: Timestamp, to: Timestamp) -> i64 {
    count(u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX))
}
