//! `/dead-letters`: what failed for good, until somebody decides.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use etl_core::contract::store::{Journal, SettleLetter, StoredPipeline, Submitted};
use etl_core::model::{
    By, JobId, JobRecord, LetterFilter, LetterRecord, LetterStatus, Page, PipelineId, TriggerType,
};
use etl_core::runtime::{Intake, IntakeError, Trigger};
use etl_core::sdk::{Repeat, RetryFrom, retry_trigger};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;
use uuid::Uuid;

use super::Api;
use super::answer::Accepted;
use super::extract::{Id, Limit, Query, page, parameter};
use super::jobs::job_of;
use super::jobs::repeats::refused;
use super::problem::Problem;
use super::route::{Access, Route};
use crate::identity::{Action, Principal, Resource};

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    let to = |action| Access::to(action, Resource::DeadLetters);
    vec![
        Route::get("/api/v1/dead-letters", Resource::DeadLetters, list)
            .says("Steps that failed for good, the newest first"),
        Route::get("/api/v1/dead-letters/{id}", Resource::DeadLetters, one)
            .says("A step that failed for good"),
        Route::post("/api/v1/dead-letters/{id}/requeue", to(Action::Retry), requeue).says(
            "Repeats the letter's job from the steps that failed, once: all its open letters are settled by it",
        ),
        Route::post("/api/v1/dead-letters/{id}/discard", to(Action::Update), discard)
            .says("Notes that nothing is to be done about it"),
    ]
}

/// Which letters a list has, and which part of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wanted {
    #[schemars(with = "Limit")]
    limit: Option<String>,
    cursor: Option<String>,
    #[schemars(with = "PipelineId")]
    pipeline_id: Option<String>,
    #[schemars(with = "LetterStatus")]
    status: Option<String>,
}

/// Letters, newest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<LetterRecord>>, Problem> {
    let filter = LetterFilter {
        pipeline: parameter("pipeline_id", wanted.pipeline_id.as_deref())?,
        status: parameter("status", wanted.status.as_deref())?,
    };
    let page = page(wanted.limit.as_deref(), wanted.cursor)?;
    let letters = api.letters.letters(&filter, &page).await;
    letters.map(Json).map_err(Problem::of_list)
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Id(letter): Id<Uuid>,
) -> Result<Json<LetterRecord>, Problem> {
    letter_of(&api, letter).await.map(Json)
}

pub(super) async fn discard(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(id): Id<Uuid>,
) -> Result<Json<LetterRecord>, Problem> {
    let settle = SettleLetter {
        id,
        by: By(principal.name),
        retry: None,
    };
    let is_settled = api.letters.settle_letter(settle).await?;
    let letter = letter_of(&api, id).await?;
    if is_settled {
        Ok(Json(letter))
    } else {
        Err(settled(&letter))
    }
}

/// First the letter is settled for a job that is not there yet, then the job is made: of many who requeue, the store lets one settle,
/// and a job that was to be made when a server stopped is made by who comes next.
pub(super) async fn requeue(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(id): Id<Uuid>,
) -> Result<Accepted<Json<JobRecord>>, Problem> {
    let letter = letter_of(&api, id).await?;
    if !is_to_be_repeated(&api, &letter).await? {
        return Err(settled(&letter));
    }
    let by = By(principal.name);
    let (pipeline, trigger) = repeat_of(&api, &letter, by.clone()).await?;
    let retry = JobId(Uuid::now_v7());
    let settle = SettleLetter {
        id,
        by,
        retry: Some(retry),
    };
    let retry = if api.letters.settle_letter(settle).await? {
        retry
    } else {
        // Somebody settled it meanwhile, or before.
        let letter = letter_of(&api, id).await?;
        let planned = letter.retry_job_id;
        planned.ok_or_else(|| settled(&letter))?
    };
    let submitted = Intake::new(Arc::clone(&api.store))
        .submit(retry, &pipeline, keyed(trigger, retry))
        .await;
    match submitted {
        Ok(Submitted::New(job)) => {
            api.tell_workers([job], pipeline.document.priority);
            Ok(Accepted {
                location: format!("/api/v1/jobs/{job}"),
                body: Json(job_of(&api, job).await?),
            })
        }
        // Somebody else made it.
        Ok(_) | Err(IntakeError::KeyTaken(_)) => Err(settled(&letter_of(&api, id).await?)),
        Err(error) => Err(error.into()),
    }
}

async fn letter_of(api: &Api, id: Uuid) -> Result<LetterRecord, Problem> {
    let found = api.letters.letter(id).await?;
    found.ok_or_else(Problem::not_found)
}

/// Whether it is open, or the job that was to repeat its job was never made.
async fn is_to_be_repeated(api: &Api, letter: &LetterRecord) -> Result<bool, Problem> {
    match (letter.status, letter.retry_job_id) {
        (LetterStatus::Open, _) => Ok(true),
        (_, None) => Ok(false),
        (_, Some(job)) => Ok(Journal::job(&*api.store, job).await?.is_none()),
    }
}

async fn repeat_of(
    api: &Api,
    letter: &LetterRecord,
    by: By,
) -> Result<(StoredPipeline, Trigger), Problem> {
    let job = job_of(api, letter.job_id).await?;
    if !job.status.is_terminal() {
        let detail = format!("its job is {}: what has ended can be repeated", job.status);
        return Err(Problem::conflict(detail));
    }
    let repeat = Repeat {
        from: RetryFrom::Failed,
        latest: false,
        parameters: Map::new(),
    };
    let trigger = retry_trigger(&*api.store, letter.job_id, repeat, by).await;
    trigger.map_err(refused)
}

fn keyed(trigger: Trigger, job: JobId) -> Trigger {
    Trigger {
        trigger_type: TriggerType::Api,
        idempotency_key: Some(format!("dead-letter:{job}")),
        ..trigger
    }
}

fn settled(letter: &LetterRecord) -> Problem {
    Problem::conflict(format!("the letter is {} already", letter.status))
}
