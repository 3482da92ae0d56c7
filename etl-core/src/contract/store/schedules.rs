//! Schedules: when pipelines run by themselves, and which fires were decided.

use std::fmt::Debug;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{
    FireRecord, NewJob, NextFire, Page, PageRequest, PipelineId, Schedule, Timestamp,
};

/// Keeps the schedules of pipelines. Nothing writes them but the catalog's pipelines, their fires, and pausing.
///
/// # Contract
/// Between the store and schedulers, any number of them. Conformance: `etl_core::store_conformance!`.
///
/// A schedule follows its pipeline, in the transaction that writes the pipeline:
///
/// - A new version with a schedule ([`Pipeline::has_schedule`]) puts the schedule, one without takes it away, and so does
///   removing the pipeline. A put that makes no new version leaves it alone.
/// - If the version before was current and [had the same schedule](crate::model::Pipeline::has_schedule_of),
///   the next fire and the pause stay as they are: what is due is not lost by a change of a step. Else the next fire is
///   [`schedule::next_start`](crate::schedule::next_start) of the document after now, and a pause stays if the schedule was
///   there.
/// - `rev` is raised by every new version, fire, pause and resumption, and MUST NOT be given twice for a pipeline, also if
///   its schedule was away in between. `last_fire_at` outlives a schedule that was away.
/// - «Now» is the store's own clock.
///
/// [`Pipeline::has_schedule`]: crate::model::Pipeline::has_schedule
#[async_trait]
pub trait ScheduleStore: Send + Sync + Debug + 'static {
    /// Schedules whose `next_start_at` has come, earliest first, then by id; at most `limit`. Paused and inactive ones have
    /// no next fire. One that can't be read MUST NOT take the place of one that can: it is left out, and looked at again after a
    /// time that grows.
    async fn due(&self, limit: usize) -> Result<Due>;

    /// Decides a fire: its job or the reason for none, its row under (schedule, nominal time), and the schedule's next
    /// fire become true in one transaction. The first that fits says what becomes of it:
    ///
    /// 1. The schedule is not there, or its `rev` is not the given one: `Lost`, and nothing is changed.
    /// 2. The nominal time has a row, or the job's id or key is known: `Known`. No job is made and the row that is there
    ///    stays; the next fire and `rev` move on.
    /// 3. `Fired`. A job is submitted as by [`JobStore::submit`](super::JobStore::submit), with all that
    ///    `concurrency.on_limit` asks for; `last_fire_at` becomes its nominal time. One that is skipped leaves
    ///    `last_fire_at` as it is.
    ///
    /// # Errors
    /// Those of `submit`; then nothing is changed.
    async fn fire(&self, fire: Fire) -> Result<Fired>;

    /// Stops a schedule until [`resume`](Self::resume): `is_paused`, without a next fire. One that is paused stays as it
    /// is.
    ///
    /// # Errors
    /// `NotFound` if the pipeline has no schedule.
    async fn pause(&self, schedule: PipelineId) -> Result<()>;

    /// Lets a schedule fire again, from the first fire after now on: what came while it was paused is not made up. One that
    /// is not paused stays as it is.
    ///
    /// # Errors
    /// `NotFound` if the pipeline has no schedule.
    async fn resume(&self, schedule: PipelineId) -> Result<()>;

    /// One schedule. `None` if the pipeline has none.
    async fn schedule(&self, schedule: PipelineId) -> Result<Option<Schedule>>;

    /// The schedules, by namespace and name of their pipelines (as bytes). Pages as in [`Journal`](super::Journal).
    async fn schedules(&self, page: &PageRequest) -> Result<Page<Schedule>>;

    /// The last fires of a pipeline that were decided, latest nominal time first, at most `limit`; also of one whose
    /// schedule is gone.
    async fn fires(&self, schedule: PipelineId, limit: usize) -> Result<Vec<FireRecord>>;
}

/// What is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// The store's time of the look.
    pub now: Timestamp,
    /// The schedules.
    pub schedules: Vec<Schedule>,
}

/// A fire to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Fire {
    /// Whose.
    pub schedule: PipelineId,
    /// The schedule's `rev` as whoever decides has seen it.
    pub rev: u64,
    /// When it was due, by the schedule.
    pub nominal: Timestamp,
    /// What comes of it.
    pub outcome: FireOutcome,
    /// The first fire that stays undecided. `None` if there is none any more.
    pub next: Option<NextFire>,
}

/// What comes of a fire.
#[derive(Debug, Clone, PartialEq)]
pub enum FireOutcome {
    /// A job.
    Job(Box<NewJob>),
    /// None, for this reason.
    Skipped(String),
}

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// It is true now.
    Fired,
    /// The fire had been decided before; the schedule has moved on.
    Known,
    /// Somebody else has changed the schedule: look again.
    Lost,
}
