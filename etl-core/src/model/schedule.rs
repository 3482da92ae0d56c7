//! A pipeline's schedule as a store keeps it, and what became of its fires.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::JobId;
use super::job::PipelineRef;
use super::pipeline::Pipeline;
use super::time::Timestamp;

/// The schedule of a pipeline. There is one for each pipeline whose current version has one; its identity is the pipeline's.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The pipeline, in its current version: what a fire makes a job of.
    pub pipeline: PipelineRef,
    /// That version's document.
    pub document: Arc<Pipeline>,
    /// Raised by whatever changes the schedule: a new version of its pipeline, a fire, a pause. The guard of every fire.
    pub rev: u64,
    /// Whether somebody has paused it.
    pub is_paused: bool,
    /// The first fire that was not decided yet. `None` if it is paused or inactive, or never comes again.
    pub next_fire_at: Option<Timestamp>,
    /// When the job of that fire is made: then, or later within `start_jitter_seconds`.
    pub next_start_at: Option<Timestamp>,
    /// The nominal time of the last fire that made a job.
    pub last_fire_at: Option<Timestamp>,
}

/// A fire that was not decided yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextFire {
    /// Its nominal time, by the schedule.
    pub at: Timestamp,
    /// When its job is made, not before `at`.
    pub starts_at: Timestamp,
}

/// What became of a fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FireRecord {
    /// When it was due, by the schedule.
    pub nominal: Timestamp,
    /// The job that it made.
    pub job_id: Option<JobId>,
    /// Why it made none.
    pub reason: Option<String>,
    /// When it was decided.
    pub created_at: Timestamp,
}
