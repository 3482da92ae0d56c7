//! Follows a job to its end: live, with a summary, and so that an interrupt ends the job and not only the program.

use etl_core::contract::store::StoredPipeline;
use etl_core::sdk::{Etl, JobHandle, Outcome};

use super::interrupts::Interrupts;
use super::steps_of;
use crate::archive::Archiver;
use crate::config::Config;
use crate::deployment::OpenStore;
use crate::failure::{Exit, Failure};
use crate::view::{RunView, print, print_json, run_document, say, summary};

/// Shows the job until it ends, prints what became of it, and gives the exit status that tells it.
pub(super) async fn to_the_end(
    etl: &Etl,
    handle: JobHandle,
    pipeline: &StoredPipeline,
    interrupts: &mut Interrupts,
    json: bool,
) -> Result<Exit, Failure> {
    let job = handle.id();
    let outcome = watched(etl, handle, pipeline, interrupts, json).await?;
    if json {
        print_json(&run_document(&outcome))?;
    } else {
        print(&summary(&outcome))?;
        if !outcome.is_success() {
            say(&format!(
                "hint: `etl logs {job}` shows what it said; `etl retry {job} --from-failed` goes on from there"
            ));
        }
    }
    Ok(Exit::of_job(outcome.status()))
}

/// Ends the engine, archives logs if that is wanted, and lets go of the store. A job that was left as it is is not waited for.
pub(super) async fn close(
    config: &Config,
    etl: Etl,
    store: OpenStore,
    outcome: &Result<Exit, Failure>,
    interrupts: &mut Interrupts,
) {
    let storage = etl.backends().storage.clone();
    match outcome {
        Err(failure) if failure.exit == Exit::Cancelled => drop(etl),
        _ => {
            etl.shutdown().await;
            if config.log_archive {
                // Others may have left much to archive; who does not want to wait for it leaves it to the next.
                let archiver = Archiver::new(&store, storage);
                tokio::select! {
                    () = archiver.archive_all() => {}
                    () = interrupts.next() => say("interrupted: logs are archived the next time"),
                }
            }
        }
    }
    store.close().await;
}

async fn watched(
    etl: &Etl,
    mut handle: JobHandle,
    pipeline: &StoredPipeline,
    interrupts: &mut Interrupts,
    json: bool,
) -> Result<Outcome, Failure> {
    let job = handle.id();
    let mut view = RunView::new(job, &pipeline.document, json);
    if view.is_live() {
        view.resume(&steps_of(&**etl.store(), job).await?);
    }
    let mut asked = false;
    loop {
        tokio::select! {
            event = handle.next_event() => match event? {
                Some(event) => view.show(&event),
                None => break,
            },
            () = interrupts.next() => {
                if std::mem::replace(&mut asked, true) {
                    view.close();
                    return Err(Failure::new(Exit::Cancelled, "interrupted twice: the job was left as it is")
                        .hint(format!("`etl retry {job}` ends it as cancelled")));
                }
                view.say("interrupted: stopping the steps (once more to leave at once)");
                etl.cancel(job, "interrupted").await?;
            }
        }
    }
    view.close();
    Ok(handle.wait().await?)
}
