//! Figures.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use uuid::Uuid;

use super::row::JobRow;
use super::{MemoryStore, State};
use crate::contract::store::{Figures, Result};
use crate::model::{
    Durations, HourFigures, JobFigures, JobId, JobStatus, PipelineId, StepFigures, StepKey,
    StepRecord, StepStatus, Timestamp,
};

#[async_trait]
impl Figures for MemoryStore {
    async fn backlog(&self, most: u64) -> Result<u64> {
        let (state, _) = self.lock();
        let open: usize = state
            .open
            .values()
            .map(std::collections::BTreeSet::len)
            .sum();
        // Whoever runs has a lease, and nobody else.
        let waiting = open - state.leases.len();
        Ok(most.min(waiting as u64))
    }

    async fn job_figures(
        &self,
        pipeline: Option<PipelineId>,
        from: Timestamp,
    ) -> Result<JobFigures> {
        let (state, _) = self.lock();
        let mut figures = JobFigures::default();
        let mut took = Vec::new();
        let jobs = state.accepted_since(from);
        for job in jobs.filter(|job| pipeline.is_none_or(|id| id == job.pipeline.id)) {
            let record = job.record();
            let hour = hour_of(record.created_at);
            if figures.hours.last().is_none_or(|last| last.hour != hour) {
                figures.hours.push(HourFigures {
                    hour,
                    by_status: BTreeMap::new(),
                });
            }
            if let Some(last) = figures.hours.last_mut() {
                *last.by_status.entry(record.status).or_default() += 1;
            }
            figures.rows_processed += record.rows_processed;
            figures.bytes_transferred += record.bytes_transferred;
            took.extend(record.duration_ms);
            if matches!(record.status, JobStatus::Failed | JobStatus::Timeout) {
                for (key, row) in job.rows_from(StepKey::step(0)) {
                    count_error(&mut figures.errors, &job.step_record(key, row));
                }
            }
        }
        figures.durations = Durations::of(took);
        Ok(figures)
    }

    async fn step_figures(&self, connector: &str, from: Timestamp) -> Result<StepFigures> {
        let (state, _) = self.lock();
        let mut figures = StepFigures::default();
        let mut took = Vec::new();
        for job in state.accepted_since(from) {
            let Some(current) = state.pipelines.current_of(job.pipeline.id) else {
                continue;
            };
            let of_connector = current.document.steps.iter();
            let of_connector: BTreeSet<&str> = of_connector
                .filter(|step| step.connector_type == connector)
                .map(|step| step.name.as_str())
                .collect();
            let steps = job.rows_from(StepKey::step(0));
            let steps = steps.map(|(key, row)| job.step_record(key, row));
            for step in steps.filter(|step| of_connector.contains(&*step.name)) {
                *figures.by_status.entry(step.status).or_default() += 1;
                figures.attempts += u64::from(step.attempt);
                figures.rows_processed += step.rows_processed;
                figures.bytes_transferred += step.bytes_transferred;
                took.extend(step.duration_ms);
                count_error(&mut figures.errors, &step);
            }
        }
        figures.durations = Durations::of(took);
        Ok(figures)
    }
}

impl State {
    /// The jobs that were accepted since, oldest first.
    fn accepted_since(&self, from: Timestamp) -> impl Iterator<Item = &JobRow> {
        let first = (from, JobId(Uuid::nil()));
        let jobs = self.history.range(first..);
        jobs.filter_map(|(_, id)| self.jobs.get(id))
    }
}

fn hour_of(at: Timestamp) -> Timestamp {
    const HOUR: i64 = 3_600_000_000;
    Timestamp::from_micros(at.as_micros().div_euclid(HOUR) * HOUR)
}

fn count_error(errors: &mut BTreeMap<String, u64>, step: &StepRecord) {
    if let (StepStatus::Failed | StepStatus::Timeout, Some(class)) = (step.status, step.error_class)
    {
        *errors.entry(class.as_str().to_owned()).or_default() += 1;
    }
}
