//! Carries out what jobs left to be done: starts the jobs of pipelines that depend on them. Any number of finishers may run: a
//! hook that is carried out twice makes one job.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::intake::{Intake, IntakeError, Trigger};
use crate::contract::Store;
use crate::contract::store::{Result, SettledHook, StoreError, StoreErrorKind, WaitingHook};
use crate::model::{By, HookRow, HookTarget, JobId, PipelineRef, TriggerType};

/// The most hooks in one round.
const ROUND: usize = 256;

/// How many hooks are carried out at the same time: one that takes long holds up no other, and a store that pays for durability
/// pays once for what comes together.
const AT_ONCE: usize = 32;

/// The most jobs that may have started one another: pipelines that depend on each other in a circle come to an end.
pub const MAX_CHAIN: u64 = 64;

/// The most jobs that may follow from one, over all hooks of all that follow: pipelines that start more than one of each other come
/// to an end, too.
pub const MAX_FOLLOWERS: u64 = 1_000;

/// The name in a job's context under which it says how many jobs came before it in the chain.
const CHAIN: &str = "chain";

/// The name under which it says how many jobs may follow from it.
const FOLLOWERS: &str = "followers";

/// Looks for hooks that wait, and carries them out.
#[derive(Debug, Clone)]
pub struct Finisher {
    store: Arc<dyn Store>,
    intake: Intake,
}

impl Finisher {
    /// For the hooks of this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            intake: Intake::new(store.clone()),
            store,
        }
    }

    /// One round. Answers how many hooks it settled: there may be more if that is not none.
    ///
    /// A hook that can't be carried out, because its pipeline is gone or the parameters don't fit, is settled with the reason.
    ///
    /// # Errors
    /// If the store can't be reached. What was not settled is carried out again, and makes no second job.
    pub async fn tick(&self) -> Result<usize> {
        let waiting = self.store.waiting_hooks(ROUND).await?;
        let hooks = waiting.into_iter().map(|waiting| self.finish(waiting));
        let mut hooks = stream::iter(hooks).buffer_unordered(AT_ONCE);
        let (mut count, mut failed) = (0, None);
        while let Some(finished) = hooks.next().await {
            match finished {
                Ok(()) => count += 1,
                Err(error) => {
                    tracing::debug!(%error, "a hook waits for the next round");
                    failed = Some(error);
                }
            }
        }
        match failed {
            // Those that were carried out have to be taken up all the same.
            Some(error) if count == 0 => Err(error),
            _ => Ok(count),
        }
    }

    /// Carries out a hook and settles it.
    async fn finish(&self, waiting: WaitingHook) -> Result<()> {
        let error = match self.carry_out(&waiting).await {
            Ok(error) => error,
            Err(error) if is_passing(&error) => return Err(error),
            // What can't be read stays so, and the hooks behind it must not wait for it.
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &error {
            tracing::warn!(job_id = %waiting.job, position = waiting.hook.position, error, "hook not carried out");
        }
        let settled = SettledHook {
            job: waiting.job,
            position: waiting.hook.position,
            error,
        };
        self.store.settle_hook(settled).await
    }

    /// Answers why it can't be carried out, if it can't.
    async fn carry_out(&self, waiting: &WaitingHook) -> Result<Option<String>> {
        match &waiting.hook.target {
            HookTarget::TriggerPipeline {
                name,
                parameters,
                after,
            } => self.start(waiting, name, parameters, after).await,
            HookTarget::Webhook { .. } => Ok(Some("it starts no job".into())),
        }
    }

    async fn start(
        &self,
        waiting: &WaitingHook,
        name: &str,
        parameters: &Map<String, Value>,
        after: &PipelineRef,
    ) -> Result<Option<String>> {
        let Some(pipeline) = self.store.pipeline(&after.namespace, name, None).await? else {
            return Ok(Some(format!("there is no pipeline {name:?}")));
        };
        let before = self.store.job(waiting.job).await?;
        let context = before.map(|job| job.context).unwrap_or_default();
        let said = |name| context.get(name).and_then(Value::as_u64);
        let chain = said(CHAIN).unwrap_or(0) + 1;
        if chain > MAX_CHAIN {
            return Ok(Some(format!(
                "it would be the end of a chain of more than {MAX_CHAIN} jobs: do its pipelines start one another in a circle?"
            )));
        }
        // What may follow is shared out evenly, so that nobody has to count the jobs of other hooks.
        let hooks = self.store.hooks(waiting.job).await?;
        let starts = |hook: &&HookRow| matches!(hook.target, HookTarget::TriggerPipeline { .. });
        let siblings = hooks.iter().filter(starts).count().max(1) as u64;
        let allowed = said(FOLLOWERS).unwrap_or(MAX_FOLLOWERS);
        let Some(followers) = (allowed / siblings).checked_sub(1) else {
            return Ok(Some(format!(
                "more than {MAX_FOLLOWERS} jobs would follow from one: do its pipelines start one another again and again?"
            )));
        };
        let by = By(format!("pipeline:{}", after.name));
        let mut trigger = Trigger::new(TriggerType::Pipeline, by, parameters.clone());
        trigger
            .context
            .insert("after_job".into(), waiting.job.to_string().into());
        trigger.context.insert(CHAIN.into(), chain.into());
        trigger.context.insert(FOLLOWERS.into(), followers.into());
        trigger.idempotency_key = Some(format!("hook:{}:{}", waiting.job, waiting.hook.position));
        match self
            .intake
            .submit(JobId(Uuid::now_v7()), &pipeline, trigger)
            .await
        {
            // The key was used by a finisher that was interrupted; if the pipeline has another version since, that job counts.
            Ok(_) | Err(IntakeError::KeyTaken(_)) => Ok(None),
            Err(IntakeError::Store(error)) if is_passing(&error) => Err(error),
            Err(error) => Ok(Some(told(&error))),
        }
    }
}

fn is_passing(error: &StoreError) -> bool {
    matches!(
        error.kind,
        StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown
    )
}

/// An error with its causes in one line.
fn told(error: &IntakeError) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
