//! `etl submit`: hands a job to the deployment that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::store::{Catalog, PutPipeline, StoredPipeline, Submitted};
use etl_core::contract::{EventBus, Received, Store, StoreError, StoreErrorKind, Subscription};
use etl_core::model::{By, EventKind, Hint, JobId, TriggerType};
use etl_core::runtime::{Intake, Trigger};
use etl_core::sdk::Outcome;
use tokio::time::Instant;

use super::interrupts::Interrupts;
use super::run::{check_parameters, named_file};
use super::{job_of, pipeline_of, steps_of, wanted};
use crate::args::SubmitArgs;
use crate::config::{Config, QueueKind};
use crate::deployment::{self, OpenStore};
use crate::document;
use crate::failure::{Exit, Failure};
use crate::view::{print, print_json, run_document, say, summary};

/// How often a job that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// The same where its end is told.
const LOOK_EVERY_IF_TOLD: Duration = Duration::from_secs(2);

/// How long the queue is waited for: the store has the job, and workers ask it.
const HINT_PATIENCE: Duration = Duration::from_secs(1);

/// How long a store that does not answer is asked again, and how far apart at most.
const STORE_PATIENCE: Duration = Duration::from_mins(5);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

pub(crate) async fn execute(config: &Config, args: &SubmitArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let opening = deployment::look_or_make(config);
    let open = interrupts.unless_interrupted(opening).await?;
    let exit = submit(config, &open, args, &mut interrupts).await;
    open.close().await;
    exit
}

async fn submit(
    config: &Config,
    open: &OpenStore,
    args: &SubmitArgs,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let store = open.store();
    let file = named_file(&args.pipeline);
    let read = |file| document::read(file, &deployment::registry()).map_err(Failure::pipeline);
    let read = file.as_deref().map(read).transpose()?;
    let pipeline = match &read {
        Some(read) => {
            let put = PutPipeline {
                document: Arc::new(read.pipeline.clone()),
                expected_version: None,
                by: By("cli".into()),
            };
            let reference = Catalog::put_pipeline(&**store, put).await?;
            let stored =
                Catalog::pipeline_version(&**store, reference.id, reference.version).await?;
            stored.ok_or_else(|| Failure::input("the pipeline was removed at the same time"))?
        }
        None => pipeline_of(&**store, &args.pipeline).await?,
    };
    let parameters = check_parameters(pipeline.document.parameters.as_ref(), &args.parameters)?;
    let mut trigger = Trigger::new(TriggerType::Manual, By("cli".into()), parameters);
    trigger.idempotency_key.clone_from(&args.idempotency_key);
    let source = file.as_deref().zip(read.as_ref());
    wanted::say_what_is_missing(&**store, &pipeline.document, source).await;
    let submitted = accept(open, &pipeline, trigger).await?;
    let job = submitted.job();
    // What is accepted runs: its id is told before anything else can go wrong.
    if args.wait {
        say(&format!("job {job} of {}", pipeline.document.name));
    } else if args.json {
        let record = job_of(&**store, job).await;
        let accepted = format!("job {job} was accepted");
        print_json(&record.map_err(|failure| failure.hint(accepted))?)?;
    } else {
        print(&format!("{job}\n"))?;
    }
    tell_workers(config, open, submitted, &pipeline).await;
    if args.wait {
        let events = deployment::shared_events(config, open)?;
        return wait(&**store, events, job, args.json, interrupts).await;
    }
    Ok(Exit::Success)
}

/// Makes a job of the trigger.
pub(super) async fn accept(
    open: &OpenStore,
    pipeline: &StoredPipeline,
    trigger: Trigger,
) -> Result<Submitted, Failure> {
    let intake = Intake::new(Arc::clone(open.store()));
    let id = JobId(uuid::Uuid::now_v7());
    Ok(intake.submit(id, pipeline, trigger).await?)
}

/// Tells whoever may run a new job at once. Without it they find the job when they next ask the store, so that it is not
/// waited for long.
pub(super) async fn tell_workers(
    config: &Config,
    open: &OpenStore,
    submitted: Submitted,
    pipeline: &StoredPipeline,
) {
    let Submitted::New(job) = submitted else {
        return;
    };
    if !matches!(deployment::has_workers(config), Ok(true)) {
        return;
    }
    let hints = [Hint {
        job,
        priority: pipeline.document.priority,
    }];
    let told = hint(config, open, &hints);
    let problem = match tokio::time::timeout(HINT_PATIENCE, told).await {
        Ok(Ok(())) => return,
        Ok(Err(failure)) => failure.in_one_line(),
        Err(_) => "the queue does not answer".into(),
    };
    tracing::warn!(
        problem,
        "the workers were not told of the job; they find it within seconds"
    );
}

async fn hint(config: &Config, open: &OpenStore, hints: &[Hint]) -> Result<(), Failure> {
    let told = match (config.queue()?, open.as_postgres()) {
        (QueueKind::Store, Some(store)) => store.hint(hints).await,
        _ => deployment::queue(config, open)?.publish(hints).await,
    };
    told.map_err(|error| deployment::unreachable("the queue can't be reached").because(error))
}

/// Waits for the job's end, as `etl run` does; an interrupt ends the wait and not the job.
pub(super) async fn wait(
    store: &dyn Store,
    events: Option<Arc<dyn EventBus>>,
    job: JobId,
    as_json: bool,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let outcome = tokio::select! {
        outcome = end_of(store, events, job) => outcome?,
        () = interrupts.next() => {
            return Err(Failure::new(Exit::Cancelled, "not waited for any more; the job goes on")
                .hint(format!("`etl cancel {job}` ends it, `etl job {job}` shows it")));
        }
    };
    if as_json {
        print_json(&run_document(&outcome))?;
    } else {
        print(&summary(&outcome))?;
    }
    Ok(Exit::of_job(outcome.status()))
}

/// The job as it ended. A store that can't be reached for a while is no end.
async fn end_of(
    store: &dyn Store,
    events: Option<Arc<dyn EventBus>>,
    job: JobId,
) -> Result<Outcome, Failure> {
    let mut watcher = match &events {
        Some(events) => events.subscribe(Some(job)).await.ok(),
        None => None,
    };
    let mut outage = Outage::default();
    loop {
        match outcome_of(store, job).await {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => {
                outage.is_over();
                until_worth_a_look(&mut watcher).await;
            }
            Err(error) => outage.sit_out(error, job).await?,
        }
    }
}

/// The job with its steps, if it has ended.
async fn outcome_of(store: &dyn Store, id: JobId) -> Result<Option<Outcome>, StoreError> {
    let missing = || StoreError::new("job", StoreErrorKind::NotFound);
    let job = store.job(id).await?.ok_or_else(missing)?;
    if !job.status.is_terminal() {
        return Ok(None);
    }
    let steps = steps_of(store, id).await?;
    Ok(Some(Outcome { job, steps }))
}

/// A time in which the store can't be reached.
#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
}

impl Outage {
    fn is_over(&mut self) {
        if self.since.take().is_some() {
            say("the store answers again");
        }
    }

    /// Waits until it is worth to ask again. What does not pass by itself, or not in time, is the caller's.
    async fn sit_out(&mut self, error: StoreError, job: JobId) -> Result<(), Failure> {
        let begun = self.since.is_none();
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if error.kind != StoreErrorKind::Unavailable || waited > STORE_PATIENCE {
            return Err(Failure::from(error).hint(format!(
                "the job was accepted and goes on; `etl job {job}` shows it"
            )));
        }
        if begun {
            say("the store can't be reached; the job goes on, and its end is asked for again");
        }
        tokio::time::sleep((waited / 4).clamp(LOOK_EVERY, LONGEST_WAIT)).await;
        Ok(())
    }
}

/// Waits until the job may have ended: it is told so, something was missed, or it is time to look.
async fn until_worth_a_look(watcher: &mut Option<Box<dyn Subscription>>) {
    let Some(subscription) = watcher else {
        return tokio::time::sleep(LOOK_EVERY).await;
    };
    let told = async {
        loop {
            match subscription.next().await {
                Some(Received::Event(event)) => {
                    if matches!(event.kind, EventKind::Job { status, .. } if status.is_terminal()) {
                        return true;
                    }
                }
                Some(Received::Missed(_)) => return true,
                None => return false,
            }
        }
    };
    // An end that nobody could tell is found in the store.
    if let Ok(false) = tokio::time::timeout(LOOK_EVERY_IF_TOLD, told).await {
        *watcher = None;
    }
}
