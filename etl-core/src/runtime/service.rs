//! Runs the services: the one place that puts them into loops, and the one that ends them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use backon::BackoffBuilder;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::committer::{Committer, LONGEST_WAIT, store_waits};
use super::dispatcher::Dispatcher;
use super::driver::Shared;
use super::intake::{Intake, IntakeError, Trigger};
use super::keeper::Held;
use super::launcher::Launcher;
use super::reaper::Reaper;
use super::recorder::Recorder;
use super::settings::{Backends, OwnJobs, Scope, Settings};
use super::worker::Worker;
use crate::contract::QueueErrorKind;
use crate::contract::store::{JobStore, Result, StoredPipeline, Submitted};
use crate::model::{JobId, JobStatus};

/// The services of one process over its backends: what an embedded run and a deployed worker both are.
#[derive(Debug)]
pub struct Runtime {
    backends: Backends,
    intake: Intake,
    own: OwnJobs,
    held: Held,
    nudge: Arc<Notify>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
}

impl Runtime {
    /// Starts the services. They run until [`shutdown`](Self::shutdown), or until the runtime is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(backends: Backends, settings: Settings) -> Self {
        let store: Arc<dyn JobStore> = backends.store.clone();
        let (committer, commits) = Committer::new(Arc::clone(&store));
        let (recorder, logs) = Recorder::new(backends.store.clone(), Arc::clone(&backends.events));
        let launcher = Arc::new(Launcher::new(
            backends.clone(),
            logs.clone(),
            settings.grace,
        ));
        let slots = Arc::new(Semaphore::new(settings.max_steps.max(1)));
        let shared = Arc::new(Shared {
            backends: backends.clone(),
            commits,
            launcher,
            logs,
            slots,
        });
        let (own, held, nudge, stop) = (
            OwnJobs::default(),
            Held::default(),
            Arc::default(),
            CancellationToken::new(),
        );
        let worker = Worker::new(shared, settings.clone(), held.clone(), Arc::clone(&own));
        let dispatcher = Dispatcher::new(Arc::clone(&store), Arc::clone(&backends.queue));
        let keeper = worker.keeper();

        let mut others = vec![tokio::spawn(committer.run()), tokio::spawn(recorder.run())];
        others.push(tokio::spawn(every(
            settings.heartbeat,
            stop.clone(),
            async move || keeper.tick().await,
        )));
        others.push(tokio::spawn(dispatch(
            dispatcher,
            Arc::clone(&nudge),
            settings.poll,
            stop.clone(),
        )));
        if settings.scope == Scope::All {
            let reaper = Reaper::new(store);
            others.push(tokio::spawn(every(
                settings.reap,
                stop.clone(),
                async move || {
                    if let Err(error) = reaper.tick().await {
                        tracing::warn!(%error, "leases not swept");
                    }
                },
            )));
        }
        let work = work(
            worker,
            backends.clone(),
            settings,
            Arc::clone(&own),
            stop.clone(),
        );
        let intake = Intake::new(backends.store.clone());
        Self {
            intake,
            own,
            held,
            nudge,
            stop,
            worker: tokio::spawn(work),
            others,
            backends,
        }
    }

    /// What it works with.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// Accepts a job and has it taken up. When it answers, the job is remembered.
    ///
    /// # Errors
    /// Why it was not accepted; then there is no job.
    pub async fn submit(
        &self,
        pipeline: &StoredPipeline,
        trigger: Trigger,
    ) -> Result<JobId, IntakeError> {
        let (Submitted::New(job) | Submitted::Existing(job) | Submitted::KeyTaken(job)) =
            self.intake.submit(pipeline, trigger).await?;
        self.adopt(job);
        Ok(job)
    }

    /// Counts a job that is in the store already as handed to this runtime.
    pub fn adopt(&self, job: JobId) {
        self.own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(job);
        self.nudge.notify_one();
    }

    /// Asks for the end of a job, in whatever state it is. Answers where it is now; a running one ends soon after.
    ///
    /// # Errors
    /// If the store can't be reached or does not know the job.
    pub async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus> {
        let status = self.backends.store.cancel(job, reason).await?;
        self.held.cancel(job, reason);
        Ok(status)
    }

    /// Takes no more jobs, lets those under way end for at most `patience`, and ends the services. What is still under way
    /// then is taken up by another worker, or by the next start.
    pub async fn shutdown(mut self, patience: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(patience, &mut self.worker)
            .await
            .is_err()
        {
            self.worker.abort();
        }
        // The worker held the last senders of commits and log lines: both services end when these are written.
        for service in std::mem::take(&mut self.others) {
            if tokio::time::timeout(LONGEST_WAIT * 2, service)
                .await
                .is_err()
            {
                tracing::warn!("a service did not end in time");
            }
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop.cancel();
        self.worker.abort();
        for service in &self.others {
            service.abort();
        }
    }
}

/// Ticks until told to stop.
async fn every(period: Duration, stop: CancellationToken, mut tick: impl AsyncFnMut()) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => tick().await,
        }
    }
}

async fn dispatch(
    dispatcher: Dispatcher,
    nudge: Arc<Notify>,
    poll: Duration,
    stop: CancellationToken,
) {
    loop {
        let older_than = tokio::select! {
            () = stop.cancelled() => return,
            () = nudge.notified() => Duration::ZERO,
            () = tokio::time::sleep(poll) => poll,
        };
        loop {
            match dispatcher.tick(older_than).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "waiting jobs not published");
                    break;
                }
            }
        }
    }
}

async fn work(
    mut worker: Worker,
    backends: Backends,
    settings: Settings,
    own: OwnJobs,
    stop: CancellationToken,
) {
    let mut idle = settings.poll;
    let mut waits = store_waits().build();
    let mut queue_is_open = true;
    loop {
        let free = worker.free();
        let taken = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some((job, _)) = worker.ended(), if !worker.is_idle() => {
                own.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
                if !worker.take_refused() {
                    continue;
                }
                worker.tick(Vec::new()).await
            }
            hints = backends.queue.next(free), if free > 0 && queue_is_open => match hints {
                Ok(hints) => worker.tick(hints).await,
                Err(error) => {
                    queue_is_open = error.kind != QueueErrorKind::Closed;
                    tracing::warn!(%error, "no hints, the store is asked instead");
                    tokio::time::sleep(settings.poll).await;
                    worker.tick(Vec::new()).await
                }
            },
            () = tokio::time::sleep(idle), if free > 0 => worker.tick(Vec::new()).await,
        };
        match taken {
            Ok(0) => idle = (idle * 2).min(settings.poll * 5),
            Ok(_) => {
                idle = settings.poll;
                waits = store_waits().build();
            }
            Err(error) => {
                tracing::warn!(%error, "no jobs claimed");
                tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
            }
        }
    }
    while !worker.is_idle() {
        worker.ended().await;
    }
}
