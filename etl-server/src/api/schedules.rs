//! `/schedules`: when pipelines run by themselves. A schedule is a part of its pipeline's document and has its id: changing it makes
//! a version of the pipeline.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use etl_core::contract::store::{ScheduleStore, StoredPipeline};
use etl_core::model::{Calendar, Catchup, Page, Pipeline, PipelineId, Schedule, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::answer::{Created, Done, Versioned};
use super::body::Body;
use super::extract::{Id, IfMatch, MayMatch, Part, Query, page};
use super::pipelines::{current, write};
use super::problem::Problem;
use super::route::{Access, Route};
use crate::identity::{Action, Principal, Resource};

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    let to = |action| Access::to(action, Resource::Schedules);
    vec![
        Route::get("/api/v1/schedules", Resource::Schedules, list)
            .says("Schedules, by namespace and name of their pipelines"),
        Route::post("/api/v1/schedules", to(Action::Create), create)
            .says("Gives a pipeline a schedule that has none"),
        Route::get("/api/v1/schedules/{id}", Resource::Schedules, one)
            .says("The schedule of a pipeline, by the pipeline's id"),
        Route::put("/api/v1/schedules/{id}", to(Action::Update), update)
            .says("Another schedule for a pipeline that has one"),
        Route::delete("/api/v1/schedules/{id}", to(Action::Delete), remove)
            .says("Takes the schedule of a pipeline away"),
        Route::post("/api/v1/schedules/{id}/pause", to(Action::Pause), pause)
            .says("Stops a schedule until it is resumed"),
        Route::post("/api/v1/schedules/{id}/resume", to(Action::Pause), resume)
            .says("Lets a schedule fire again; what came while it was paused is not made up"),
    ]
}

/// A schedule, with the id of its pipeline.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Schedule")]
pub(crate) struct ShownSchedule {
    id: PipelineId,
    pipeline_id: PipelineId,
    namespace: Arc<str>,
    /// The pipeline's name.
    name: Arc<str>,
    /// The pipeline's version.
    version: u64,
    schedule: Option<String>,
    timezone: String,
    calendar: Option<Calendar>,
    catchup: Catchup,
    start_jitter_seconds: u32,
    is_active: bool,
    is_paused: bool,
    /// The first fire that was not decided yet.
    next_fire_at: Option<Timestamp>,
    /// When the job of that fire is made.
    next_start_at: Option<Timestamp>,
    /// The nominal time of the last fire that made a job.
    last_fire_at: Option<Timestamp>,
}

impl From<Schedule> for ShownSchedule {
    fn from(schedule: Schedule) -> Self {
        let document = &schedule.document;
        Self {
            id: schedule.pipeline.id,
            pipeline_id: schedule.pipeline.id,
            version: schedule.pipeline.version,
            schedule: document.schedule.clone(),
            timezone: document.timezone.clone(),
            calendar: document.calendar.clone(),
            catchup: document.catchup,
            start_jitter_seconds: document.start_jitter_seconds,
            is_active: document.is_active,
            is_paused: schedule.is_paused,
            next_fire_at: schedule.next_fire_at,
            next_start_at: schedule.next_start_at,
            last_fire_at: schedule.last_fire_at,
            namespace: schedule.pipeline.namespace,
            name: schedule.pipeline.name,
        }
    }
}

impl From<Schedule> for Versioned<ShownSchedule> {
    fn from(schedule: Schedule) -> Self {
        Self {
            version: schedule.pipeline.version,
            body: schedule.into(),
        }
    }
}

/// When a pipeline is to run by itself. What is left out is as in a document that leaves it out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSchedule {
    pipeline_id: PipelineId,
    /// A cron expression of 5 or 6 fields, or `@daily` and the like.
    schedule: Option<String>,
    /// IANA name of the zone that `schedule` is read in; without it UTC.
    timezone: Option<String>,
    calendar: Option<Calendar>,
    catchup: Option<Catchup>,
    #[schemars(range(max = 3600))]
    start_jitter_seconds: Option<u32>,
    /// Whether it fires; without it, it does.
    is_active: Option<bool>,
}

/// When a pipeline is to run by itself from now on. What is left out is as in a document that leaves it out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EditedSchedule {
    /// A cron expression of 5 or 6 fields, or `@daily` and the like.
    schedule: Option<String>,
    /// IANA name of the zone that `schedule` is read in; without it UTC.
    timezone: Option<String>,
    calendar: Option<Calendar>,
    catchup: Option<Catchup>,
    #[schemars(range(max = 3600))]
    start_jitter_seconds: Option<u32>,
    /// Whether it fires; without it, it does.
    is_active: Option<bool>,
}

impl From<NewSchedule> for EditedSchedule {
    fn from(new: NewSchedule) -> Self {
        Self {
            schedule: new.schedule,
            timezone: new.timezone,
            calendar: new.calendar,
            catchup: new.catchup,
            start_jitter_seconds: new.start_jitter_seconds,
            is_active: new.is_active,
        }
    }
}

impl EditedSchedule {
    /// The document with this schedule in place of its own.
    fn of(self, document: &Pipeline) -> Pipeline {
        Pipeline {
            schedule: self.schedule,
            timezone: self.timezone.unwrap_or_else(|| "UTC".into()),
            calendar: self.calendar,
            catchup: self.catchup.unwrap_or_default(),
            start_jitter_seconds: self.start_jitter_seconds.unwrap_or_default(),
            is_active: self.is_active.unwrap_or(true),
            ..document.clone()
        }
    }
}

/// Schedules by namespace and name of their pipelines.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<ShownSchedule>>, Problem> {
    let page = page(part.limit.as_deref(), part.cursor)?;
    let schedules = ScheduleStore::schedules(&*api.store, &page).await;
    let schedules = schedules.map_err(Problem::of_list)?;
    Ok(Json(Page {
        items: schedules
            .items
            .into_iter()
            .map(ShownSchedule::from)
            .collect(),
        next_cursor: schedules.next_cursor,
    }))
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Id(id): Id<PipelineId>,
) -> Result<Versioned<ShownSchedule>, Problem> {
    schedule_of(&api, id).await.map(Versioned::from)
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Body(body): Body<NewSchedule>,
) -> Result<Created<Versioned<ShownSchedule>>, Problem> {
    let id = body.pipeline_id;
    let missing = |_| Problem::unfit_at("/pipeline_id", "there is no such pipeline");
    let pipeline = current(&api, id).await.map_err(missing)?;
    if pipeline.document.has_schedule() {
        return Err(Problem::conflict(
            "the pipeline has a schedule already: change that one",
        ));
    }
    let version = pipeline.reference.version;
    let document = EditedSchedule::from(body).of(&pipeline.document);
    let schedule = put(&api, &principal, &pipeline, document, version).await?;
    Ok(Created {
        location: format!("/api/v1/schedules/{id}"),
        body: schedule.into(),
    })
}

pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(id): Id<PipelineId>,
    IfMatch(version): IfMatch,
    Body(body): Body<EditedSchedule>,
) -> Result<Versioned<ShownSchedule>, Problem> {
    schedule_of(&api, id).await?;
    let pipeline = current(&api, id).await?;
    let document = body.of(&pipeline.document);
    let schedule = put(&api, &principal, &pipeline, document, version).await?;
    Ok(schedule.into())
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(id): Id<PipelineId>,
    MayMatch(version): MayMatch,
) -> Result<Done, Problem> {
    schedule_of(&api, id).await?;
    let pipeline = current(&api, id).await?;
    let bare = Pipeline::new(&*pipeline.document.name);
    let document = Pipeline {
        schedule: None,
        calendar: None,
        catchup: bare.catchup,
        start_jitter_seconds: bare.start_jitter_seconds,
        ..(*pipeline.document).clone()
    };
    let version = version.unwrap_or(pipeline.reference.version);
    write(&api, &principal, &pipeline, document, version).await?;
    Ok(Done)
}

pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Id(id): Id<PipelineId>,
) -> Result<Versioned<ShownSchedule>, Problem> {
    ScheduleStore::pause(&*api.store, id).await?;
    schedule_of(&api, id).await.map(Versioned::from)
}

pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Id(id): Id<PipelineId>,
) -> Result<Versioned<ShownSchedule>, Problem> {
    ScheduleStore::resume(&*api.store, id).await?;
    schedule_of(&api, id).await.map(Versioned::from)
}

async fn schedule_of(api: &Api, id: PipelineId) -> Result<Schedule, Problem> {
    let found = ScheduleStore::schedule(&*api.store, id).await?;
    found.ok_or_else(Problem::not_found)
}

/// Writes a version of the pipeline with another schedule.
async fn put(
    api: &Api,
    principal: &Principal,
    pipeline: &StoredPipeline,
    document: Pipeline,
    version: u64,
) -> Result<Schedule, Problem> {
    if !document.has_schedule() {
        let message = "say when: `schedule`, or `calendar` with `nth_business_day`";
        return Err(Problem::unfit_at("/schedule", message));
    }
    let faults = etl_core::plan::validate(&document, &api.registry);
    if !faults.is_empty() {
        return Err(Problem::unfit(faults));
    }
    write(api, principal, pipeline, document, version).await?;
    schedule_of(api, pipeline.reference.id).await
}
