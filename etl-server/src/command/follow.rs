//! Follows a job to its end: live, with a summary, and so that an interrupt ends the job and not only the program.

use etl_core::contract::store::StoredPipeline;
use etl_core::sdk::{Etl, JobHandle, Outcome};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Exit, Failure};
use crate::view::{RunView, print_json, run_document, summary};

/// Shows the job until it ends, prints what became of it, and gives the exit status that tells it.
pub(crate) async fn to_the_end(
    etl: &Etl,
    handle: JobHandle,
    pipeline: &StoredPipeline,
    json: bool,
) -> Result<Exit, Failure> {
    let job = handle.id();
    let outcome = watched(etl, handle, pipeline, json).await?;
    if json {
        print_json(&run_document(&outcome));
    } else {
        print!("{}", summary(&outcome));
        if !outcome.is_success() {
            eprintln!(
                "hint: `etl logs {job}` shows what it said; `etl retry {job} --from-failed` goes on from there"
            );
        }
    }
    Ok(Exit::of_job(outcome.status()))
}

async fn watched(
    etl: &Etl,
    mut handle: JobHandle,
    pipeline: &StoredPipeline,
    json: bool,
) -> Result<Outcome, Failure> {
    let job = handle.id();
    let mut view = RunView::new(job, &pipeline.document, json);
    let mut interrupts = Interrupts::new()?;
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
                        .hint(format!("go on with it by `etl retry {job}`")));
                }
                view.say("interrupted: stopping the steps (once more to leave at once)");
                etl.cancel(job, "interrupted").await?;
            }
        }
    }
    view.close();
    Ok(handle.wait().await?)
}

struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> Result<Self, Failure> {
        let watch = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Unreachable, "signals can't be watched").because(error)
            })
        };
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
