//! Lines of logs on their way to `job_logs`.

use std::sync::Arc;

use etl_core::model::{JobId, LogLine};
use serde::Serialize;

use crate::fault::Result;
use crate::rows::{json, time};

/// A row of `job_logs`.
#[derive(Debug, Clone, Serialize)]
pub struct LineRow {
    job: JobId,
    seq: i64,
    step: Option<Arc<str>>,
    item: Option<u32>,
    attempt: u32,
    at: String,
    level: &'static str,
    message: String,
    metadata: String,
}

impl LineRow {
    /// The row of a line of this job, with this number.
    pub fn new(job: JobId, seq: i64, line: &LogLine) -> Result<Self> {
        Ok(Self {
            job,
            seq,
            step: line.step.clone(),
            item: line.item_index,
            attempt: line.attempt,
            at: time(line.timestamp),
            level: line.level.as_str(),
            message: line.message.clone(),
            metadata: json(&line.metadata)?,
        })
    }
}
