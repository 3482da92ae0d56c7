//! Makes up for a stretch of a schedule: a job for every fire in it, at once.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::intake::{Intake, IntakeError, Trigger};
use crate::contract::store::{StoredPipeline, Submitted};
use crate::model::{By, JobId, Timestamp, TriggerType};
use crate::schedule::{Timetable, TimetableError};

/// The most jobs that a backfill makes.
const MOST_JOBS: usize = 100_000;

/// A stretch of a pipeline's schedule to make up for.
#[derive(Debug, Clone, PartialEq)]
pub struct Backfill {
    /// From this instant on.
    pub from: Timestamp,
    /// Up to this instant, it included.
    pub to: Timestamp,
    /// How many of the jobs may run at once, if fewer than the pipeline allows. Whatever else runs of the pipeline counts.
    pub max_active: Option<u32>,
    /// The parameters of each job as they were given.
    pub parameters: Map<String, Value>,
    /// Who asks.
    pub by: By,
}

/// A job of a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfilled {
    /// The nominal time of its fire.
    pub scheduled_for: Timestamp,
    /// The job.
    pub job: JobId,
    /// Whether it was made now, and not by an earlier call of the same backfill.
    pub is_new: bool,
}

/// Why a backfill was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackfillError {
    /// The pipeline has no schedule to make up for.
    #[error("pipeline {0:?} has no schedule")]
    NoSchedule(String),
    /// The schedule can't be read.
    #[error("the schedule can't be read")]
    Timetable(#[from] TimetableError),
    /// The stretch has too many fires; nothing was made.
    #[error("there are more than {MOST_JOBS} fires from {from} to {to}: make it in parts")]
    TooMany {
        /// From when.
        from: Timestamp,
        /// To when.
        to: Timestamp,
    },
    /// A job was not accepted. Those before it were, and the same backfill goes on with it.
    #[error("the job of {scheduled_for} was not accepted, {made} before it were")]
    Refused {
        /// The nominal time of its fire.
        scheduled_for: Timestamp,
        /// How many jobs are there.
        made: usize,
        /// Why.
        source: IntakeError,
    },
}

impl Backfill {
    /// The nominal times of the fires in the stretch, whether or not the schedule fires at present.
    ///
    /// # Errors
    /// If there is no schedule, or if there are too many.
    pub fn fires(&self, pipeline: &StoredPipeline) -> Result<Vec<Timestamp>, BackfillError> {
        let timetable = Timetable::of(&pipeline.document)?;
        let timetable =
            timetable.ok_or_else(|| BackfillError::NoSchedule(pipeline.document.name.clone()))?;
        let before = Timestamp::from_micros(self.from.as_micros().saturating_sub(1));
        let fires: Vec<_> = timetable
            .fires(before, self.to)
            .take(MOST_JOBS + 1)
            .collect();
        if fires.len() > MOST_JOBS {
            let (from, to) = (self.from, self.to);
            return Err(BackfillError::TooMany { from, to });
        }
        Ok(fires)
    }

    /// Accepts a job for every fire, in order. What was accepted is remembered one by one, and a fire makes one job for each
    /// pipeline version, parameters and all: a backfill that was interrupted goes on when it is called again.
    ///
    /// # Errors
    /// If the stretch can't be made up for, or a job is not accepted.
    pub async fn submit(
        &self,
        intake: &Intake,
        pipeline: &StoredPipeline,
    ) -> Result<Vec<Backfilled>, BackfillError> {
        let mut jobs = Vec::new();
        for scheduled_for in self.fires(pipeline)? {
            let mut trigger = Trigger::new(
                TriggerType::Backfill,
                self.by.clone(),
                self.parameters.clone(),
            );
            trigger.scheduled_for = Some(scheduled_for);
            trigger.max_active = self.max_active;
            let reference = &pipeline.reference;
            trigger.idempotency_key = Some(format!(
                "backfill:{}:{}:{scheduled_for}",
                reference.id, reference.version
            ));
            let submitted = intake
                .submit(JobId(Uuid::now_v7()), pipeline, trigger)
                .await;
            let submitted = submitted.map_err(|source| BackfillError::Refused {
                scheduled_for,
                made: jobs.len(),
                source,
            })?;
            let (job, is_new) = match submitted {
                Submitted::New(job) => (job, true),
                Submitted::Existing(job) | Submitted::KeyTaken(job) => (job, false),
            };
            jobs.push(Backfilled {
                scheduled_for,
                job,
                is_new,
            });
        }
        Ok(jobs)
    }
}
