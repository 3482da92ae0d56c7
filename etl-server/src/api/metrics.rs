//! `/metrics`: figures of what was done, from what the store remembers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use etl_core::contract::Clock;
use etl_core::contract::store::Figures;
use etl_core::model::{
    HourFigures, JobFigures, JobStatus, PipelineId, StepFigures, StepStatus, Timestamp,
};
use etl_core::runtime::SystemClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::extract::{Id, Query, parameter};
use super::pipelines::current;
use super::problem::Problem;
use super::route::Route;
use crate::identity::Resource;

/// Over how many hours figures are, if nobody says, and at most.
const HOURS: u64 = 24;
const MOST_HOURS: u64 = 720;

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/metrics/summary", Resource::Metrics, summary)
            .says("What became of the jobs of the last hours"),
        Route::get(
            "/api/v1/metrics/pipelines/{id}",
            Resource::Metrics,
            of_pipeline,
        )
        .says("What became of a pipeline's jobs of the last hours"),
        Route::get(
            "/api/v1/metrics/connectors/{name}",
            Resource::Metrics,
            of_connector,
        )
        .says("What became of a connector's step executions of the last hours"),
    ]
}

/// Over which time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    /// Jobs that were accepted in so many hours until now.
    #[schemars(with = "u64", range(min = 1, max = 720))]
    hours: Option<String>,
}

impl Wanted {
    fn from(&self) -> Result<Timestamp, Problem> {
        let hours = parameter("hours", self.hours.as_deref())?.unwrap_or(HOURS);
        if !(1..=MOST_HOURS).contains(&hours) {
            let message = format!("it is a number from 1 to {MOST_HOURS}");
            return Err(Problem::parameter("hours", message));
        }
        Ok(SystemClock.now() - Duration::from_hours(hours))
    }
}

/// What became of jobs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobMetrics")]
pub(super) struct OfJobs {
    /// The jobs are those that were accepted from then on.
    from: Timestamp,
    jobs_total: u64,
    /// How many there are in each state; states without one are left out.
    jobs_by_status: BTreeMap<JobStatus, u64>,
    /// Of those that have ended, from 0 to 1; `null` if none has.
    success_rate: Option<f64>,
    /// By the hour in which they were accepted; hours without a job are left out.
    jobs_by_hour: Vec<HourFigures>,
    /// Half of those that have ended did not take longer, in milliseconds.
    duration_p50_ms: Option<u64>,
    /// 95 of 100 did not take longer, in milliseconds.
    duration_p95_ms: Option<u64>,
    rows_processed: u64,
    bytes_transferred: u64,
    /// Steps of those that failed, by the class of their error.
    errors_by_class: BTreeMap<String, u64>,
}

impl OfJobs {
    fn new(from: Timestamp, figures: JobFigures) -> Self {
        let by_status = figures.by_status();
        let ended = by_status.iter().filter(|(status, _)| status.is_terminal());
        let succeeded = by_status.get(&JobStatus::Success).copied();
        Self {
            from,
            jobs_total: by_status.values().sum(),
            success_rate: rate(succeeded, ended.map(|(_, count)| count).sum()),
            jobs_by_status: by_status,
            jobs_by_hour: figures.hours,
            duration_p50_ms: figures.durations.duration_p50_ms,
            duration_p95_ms: figures.durations.duration_p95_ms,
            rows_processed: figures.rows_processed,
            bytes_transferred: figures.bytes_transferred,
            errors_by_class: figures.errors,
        }
    }
}

/// What became of step executions.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConnectorMetrics")]
pub(super) struct OfSteps {
    /// They are of jobs that were accepted from then on.
    from: Timestamp,
    connector_type: String,
    steps_total: u64,
    /// How many there are in each state; states without one are left out.
    steps_by_status: BTreeMap<StepStatus, u64>,
    /// How often they were tried.
    attempts: u64,
    /// Of those that ran to an end, from 0 to 1; `null` if none did.
    success_rate: Option<f64>,
    /// Half of those that ran to an end did not take longer, in milliseconds.
    duration_p50_ms: Option<u64>,
    /// 95 of 100 did not take longer, in milliseconds.
    duration_p95_ms: Option<u64>,
    rows_processed: u64,
    bytes_transferred: u64,
    /// Those that failed for good, by the class of their error.
    errors_by_class: BTreeMap<String, u64>,
}

impl OfSteps {
    fn new(from: Timestamp, connector_type: String, figures: StepFigures) -> Self {
        let count = |status| figures.by_status.get(&status).copied();
        let ran = [StepStatus::Success, StepStatus::Failed, StepStatus::Timeout];
        let ran = ran.into_iter().filter_map(count).sum();
        Self {
            from,
            connector_type,
            steps_total: figures.by_status.values().sum(),
            attempts: figures.attempts,
            success_rate: rate(count(StepStatus::Success), ran),
            steps_by_status: figures.by_status,
            duration_p50_ms: figures.durations.duration_p50_ms,
            duration_p95_ms: figures.durations.duration_p95_ms,
            rows_processed: figures.rows_processed,
            bytes_transferred: figures.bytes_transferred,
            errors_by_class: figures.errors,
        }
    }
}

fn rate(succeeded: Option<u64>, all: u64) -> Option<f64> {
    (all > 0).then(|| succeeded.unwrap_or_default() as f64 / all as f64)
}

pub(super) async fn summary(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<OfJobs>, Problem> {
    let from = wanted.from()?;
    let figures = Figures::job_figures(&*api.store, None, from).await?;
    Ok(Json(OfJobs::new(from, figures)))
}

pub(super) async fn of_pipeline(
    State(api): State<Arc<Api>>,
    Id(pipeline): Id<PipelineId>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<OfJobs>, Problem> {
    let from = wanted.from()?;
    current(&api, pipeline).await?;
    let figures = Figures::job_figures(&*api.store, Some(pipeline), from).await?;
    Ok(Json(OfJobs::new(from, figures)))
}

pub(super) async fn of_connector(
    State(api): State<Arc<Api>>,
    Id(name): Id<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<OfSteps>, Problem> {
    let from = wanted.from()?;
    if api.registry.connector(&name).is_none() {
        return Err(Problem::not_found());
    }
    let figures = Figures::step_figures(&*api.store, &name, from).await?;
    Ok(Json(OfSteps::new(from, name, figures)))
}
