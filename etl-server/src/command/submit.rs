//! `etl submit`: hands a job to the deployment that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::store::{Catalog, PutPipeline, StoredPipeline, Submitted};
use etl_core::contract::{EventBus, Received, Store, Subscription};
use etl_core::model::{By, EventKind, Hint, JobId, TriggerType};
use etl_core::runtime::{Intake, Trigger};
use etl_core::sdk::Outcome;

use super::interrupts::Interrupts;
use super::run::{check_parameters, named_file};
use super::{job_of, pipeline_of, steps_of};
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

pub(crate) async fn execute(config: &Config, args: &SubmitArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::watch()?;
    let open = deployment::look_or_make(config).await?;
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
    let pipeline = match named_file(&args.pipeline) {
        Some(file) => {
            let read = document::read(&file, &deployment::registry()).map_err(Failure::pipeline)?;
            let put = PutPipeline {
                document: Arc::new(read.pipeline),
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
    let job = hand_in(config, open, &pipeline, trigger).await?;
    if args.wait {
        say(&format!("job {job} of {}", pipeline.document.name));
        let events = deployment::shared_events(config, open)?;
        return wait(&**store, events, job, args.json, interrupts).await;
    }
    if args.json {
        print_json(&job_of(&**store, job).await?)?;
    } else {
        print(&format!("{job}\n"))?;
    }
    Ok(Exit::Success)
}

/// Makes a job of the trigger and tells whoever may run it.
pub(super) async fn hand_in(
    config: &Config,
    open: &OpenStore,
    pipeline: &StoredPipeline,
    trigger: Trigger,
) -> Result<JobId, Failure> {
    let submitted = Intake::new(Arc::clone(open.store()))
        .submit(JobId(uuid::Uuid::now_v7()), pipeline, trigger)
        .await?;
    let job = submitted.job();
    if matches!(submitted, Submitted::New(_)) && deployment::has_workers(config)? {
        hint(config, open, job, pipeline.document.priority).await;
    }
    Ok(job)
}

/// Tells the workers at once. Without it they find the job when they next ask the store.
async fn hint(config: &Config, open: &OpenStore, job: JobId, priority: u8) {
    let hints = [Hint { job, priority }];
    let told = match (config.queue(), open.as_postgres()) {
        (Ok(QueueKind::Store), Some(store)) => store.hint(&hints).await,
        _ => match deployment::queue(config, open) {
            Ok(queue) => queue.publish(&hints).await,
            Err(_) => return,
        },
    };
    if let Err(error) = told {
        tracing::warn!(%error, "the workers were not told of the job; they find it within seconds");
    }
}

/// Waits for the job's end, as `etl run` does; an interrupt ends the wait and not the job.
pub(super) async fn wait(
    store: &dyn Store,
    events: Option<Arc<dyn EventBus>>,
    job: JobId,
    as_json: bool,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let mut watcher = match &events {
        Some(events) => events.subscribe(Some(job)).await.ok(),
        None => None,
    };
    let record = loop {
        let record = job_of(store, job).await?;
        if record.status.is_terminal() {
            break record;
        }
        tokio::select! {
            () = until_worth_a_look(&mut watcher) => {}
            () = interrupts.next() => {
                return Err(Failure::new(Exit::Cancelled, "not waited for any more; the job goes on")
                    .hint(format!("`etl cancel {job}` ends it, `etl job {job}` shows it")));
            }
        }
    };
    let status = record.status;
    let outcome = Outcome {
        steps: steps_of(store, job).await?,
        job: record,
    };
    if as_json {
        print_json(&run_document(&outcome))?;
    } else {
        print(&summary(&outcome))?;
    }
    Ok(Exit::of_job(status))
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
