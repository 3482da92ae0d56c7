//! A job that repeats one that has ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use etl_core::model::{By, JobId, JobRecord, TriggerType};
use etl_core::sdk::{EtlError, Repeat, RetryFrom, retry_trigger};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{accept, job_of};
use crate::api::Api;
use crate::api::answer::Accepted;
use crate::api::body::MaybeBody;
use crate::api::extract::{Id, IdempotencyKey};
use crate::api::problem::Problem;
use crate::api::route::{Access, Route};
use crate::identity::{Action, Principal, Resource};

pub(super) fn routes() -> Vec<Route> {
    let access = Access::to(Action::Retry, Resource::Jobs);
    vec![
        Route::post("/api/v1/jobs/{id}/retry", access, retry).says(
            "A new job that repeats one which has ended, and says whose results it takes over",
        ),
    ]
}

/// How a job is to be repeated.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Wanted {
    /// `failed`: with the steps that did not succeed. The name of a step: with it and whatever depends on it. `null`: with the first.
    from: Option<String>,
    version: Version,
    /// In place of those of the repeated job; what is not named stays.
    parameters: Map<String, Value>,
}

/// Of which version of its pipeline the new job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RetryVersion")]
enum Version {
    /// The one that the repeated job was accepted with.
    #[default]
    Pinned,
    /// The current one.
    Latest,
}

/// The new job.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RepeatedJob")]
pub(in crate::api) struct Repeated {
    #[serde(flatten)]
    job: JobRecord,
    /// The steps whose results it takes over, by name.
    reused: BTreeSet<String>,
}

pub(in crate::api) async fn retry(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Id(job): Id<JobId>,
    key: IdempotencyKey,
    MaybeBody(wanted): MaybeBody<Wanted>,
) -> Result<Accepted<Json<Repeated>>, Problem> {
    let known = job_of(&api, job).await?;
    if !known.status.is_terminal() {
        let detail = format!(
            "the job is {}: what has ended can be repeated",
            known.status
        );
        return Err(Problem::conflict(detail));
    }
    let repeat = Repeat {
        from: match wanted.from {
            None => RetryFrom::Start,
            Some(word) if word == "failed" => RetryFrom::Failed,
            Some(step) => RetryFrom::Step(step),
        },
        latest: wanted.version == Version::Latest,
        parameters: wanted.parameters,
    };
    let by = By(principal.name.clone());
    let trigger = retry_trigger(&*api.store, job, repeat, by).await;
    let (pipeline, mut trigger) = trigger.map_err(refused)?;
    trigger.trigger_type = TriggerType::Api;
    trigger.idempotency_key = key.of(&principal);
    let taken_over = trigger.taken_over.iter();
    let steps = &pipeline.document.steps;
    let reused = taken_over
        .filter_map(|taken| steps.get(taken.key.step as usize))
        .map(|step| step.name.clone())
        .collect();
    let job = accept(&api, &pipeline, trigger).await?;
    Ok(Accepted {
        location: format!("/api/v1/jobs/{}", job.id),
        body: Json(Repeated { job, reused }),
    })
}

pub(in crate::api) fn refused(error: EtlError) -> Problem {
    match error {
        EtlError::NoSuchStep { .. } => {
            let hint = "`failed`, the name of a step, or null";
            Problem::unfit_at("/from", format!("{error}; it is {hint}"))
        }
        EtlError::NoSuchPipeline(_) => {
            Problem::conflict("the job's pipeline was removed: there is nothing to make a job of")
        }
        EtlError::NoSuchJob(_) => Problem::not_found(),
        EtlError::Refused(error) => error.into(),
        EtlError::Store(error) => error.into(),
        _ => Problem::internal(&error),
    }
}
