//! Jobs of a pipeline: one now, or one for every fire of its schedule in a stretch of time.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use etl_core::contract::store::{Catalog, Journal};
use etl_core::model::{By, JobId, JobRecord, PipelineId, Timestamp, TriggerType};
use etl_core::runtime::{Backfill, BackfillError, Backfilled, Intake, IntakeError, Trigger};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::current;
use crate::api::Api;
use crate::api::answer::Accepted;
use crate::api::body::{Body, MaybeBody};
use crate::api::extract::{Id, IdempotencyKey};
use crate::api::jobs::accept;
use crate::api::problem::Problem;
use crate::api::route::{Access, Route};
use crate::identity::{Action, Principal, Resource};

/// How many jobs one request may make: whoever asks waits for all of them to be remembered.
const MOST_JOBS: usize = 10_000;

pub(super) fn routes() -> Vec<Route> {
    let access = Access::to(Action::Execute, Resource::Pipelines);
    vec![
        Route::post("/api/v1/pipelines/{id}/execute", access, execute)
            .says("A new job of a pipeline, which is accepted before it runs"),
        Route::post("/api/v1/pipelines/{id}/backfill", access, backfill)
            .says("A job for every fire of a pipeline's schedule in a stretch of time"),
    ]
}

/// What a job is to be like.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Execution {
    /// Its parameters. Defaults of the pipeline fill in what is left out.
    parameters: Map<String, Value>,
}

pub(super) async fn execute(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(pipeline): Id<PipelineId>,
    key: IdempotencyKey,
    MaybeBody(wanted): MaybeBody<Execution>,
) -> Result<Accepted<Json<JobRecord>>, Problem> {
    let pipeline = current(&api, pipeline).await?;
    let by = By(principal.name.clone());
    let mut trigger = Trigger::new(TriggerType::Api, by, wanted.parameters);
    trigger.idempotency_key = key.of(&principal);
    let job = accept(&api, &pipeline, trigger).await?;
    Ok(Accepted {
        location: format!("/api/v1/jobs/{}", job.id),
        body: Json(job),
    })
}

/// A stretch of a schedule, both ends included.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Stretch {
    from: Timestamp,
    to: Timestamp,
    /// How many of the jobs may run at once, if fewer than the pipeline allows.
    #[schemars(range(min = 1))]
    max_active: Option<u32>,
    /// The parameters of each job.
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// The jobs of a backfill.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BackfillJobs {
    /// In the order of their fires.
    items: Vec<BackfillJob>,
}

/// A job of a backfill.
#[derive(Debug, Serialize, JsonSchema)]
struct BackfillJob {
    job_id: JobId,
    /// The nominal time of its fire.
    scheduled_for: Timestamp,
    /// Whether it was made now, and not by an earlier request for the same fire.
    is_new: bool,
}

impl From<Backfilled> for BackfillJob {
    fn from(job: Backfilled) -> Self {
        Self {
            job_id: job.job,
            scheduled_for: job.scheduled_for,
            is_new: job.is_new,
        }
    }
}

/// The same stretch again makes no job twice.
pub(super) async fn backfill(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(pipeline): Id<PipelineId>,
    Body(stretch): Body<Stretch>,
) -> Result<Accepted<Json<BackfillJobs>>, Problem> {
    let pipeline = current(&api, pipeline).await?;
    if stretch.from > stretch.to {
        return Err(Problem::unfit_at("/to", "it is before `from`"));
    }
    let backfill = Backfill {
        from: stretch.from,
        to: stretch.to,
        max_active: stretch.max_active,
        parameters: stretch.parameters,
        by: By(principal.name.clone()),
    };
    let fires = backfill.fires(&pipeline).map_err(refused)?;
    if fires.len() > MOST_JOBS {
        let detail = format!(
            "there are {} fires, and one request makes {MOST_JOBS} jobs at most: make it in parts",
            fires.len()
        );
        return Err(Problem::unfit_because(detail));
    }
    let intake = Intake::new(Arc::clone(&api.store));
    let jobs = backfill.submit(&intake, &pipeline).await.map_err(refused)?;
    let new = jobs.iter().filter(|job| job.is_new);
    api.tell_workers(new.map(|job| job.job), pipeline.document.priority);
    Ok(Accepted {
        location: format!(
            "/api/v1/jobs?pipeline={}&trigger_type=backfill",
            pipeline.document.name
        ),
        body: Json(BackfillJobs {
            items: jobs.into_iter().map(BackfillJob::from).collect(),
        }),
    })
}

fn refused(error: BackfillError) -> Problem {
    match error {
        BackfillError::NoSchedule(_) => {
            Problem::conflict("the pipeline has no schedule to make up for")
        }
        BackfillError::TooMany { .. } => Problem::unfit_because(error.to_string()),
        BackfillError::Refused { source, .. } => source.into(),
        _ => Problem::internal(&error),
    }
}

/// The job that an idempotency key stands for, if it was made by the same request: as parameters are checked by the version that
/// the job was accepted with, a newer one does not make it another request.
pub(in crate::api) async fn same_request(
    api: &Api,
    job: JobId,
    pipeline: PipelineId,
    trigger: &Trigger,
) -> Result<Option<JobRecord>, IntakeError> {
    let Some(job) = Journal::job(&*api.store, job).await? else {
        return Ok(None);
    };
    let (id, version) = (job.pipeline_id, job.pipeline_version);
    let accepted = Catalog::pipeline_version(&*api.store, id, version);
    let Some(accepted) = accepted.await? else {
        return Ok(None);
    };
    let schema = accepted.document.parameters.as_ref();
    let parameters = etl_core::plan::parameters(schema, trigger.parameters.clone());
    let is_same = job.pipeline_id == pipeline
        && job.trigger_type == trigger.trigger_type
        && job.retry_of == trigger.retry_of.map(|(job, _)| job)
        && parameters.is_ok_and(|parameters| job.parameters == parameters);
    Ok(is_same.then_some(job))
}
