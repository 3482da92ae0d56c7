//! Runs the services: the one place that puts them into loops, and the one that ends them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Services;
use super::commit::{LONGEST_WAIT, store_waits};
use super::dispatcher::Dispatcher;
use super::finisher::Finisher;
use super::intake::{Intake, IntakeError, Trigger};
use super::keeper::{Held, Keeper};
use super::reaper::Reaper;
use super::retention::Retention;
use super::scheduler::Scheduler;
use super::settings::{Backends, OwnJobs, Scope, Settings};
use super::worker::{Ended, Worker};
use crate::contract::store::{Result, StoredPipeline, Submitted};
use crate::contract::{Delivery, Queue, QueueError, QueueErrorKind};
use crate::model::{JobId, JobStatus, WorkerId, spread};

/// How long it may take to stop attempts and to give their jobs back.
const HANDED_BACK_WITHIN: Duration = Duration::from_secs(15);

/// How often jobs are looked for that ended long ago.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// The services of one process over its backends: what an embedded run and a deployed worker both are.
#[derive(Debug)]
pub struct Runtime {
    backends: Backends,
    scope: Scope,
    intake: Intake,
    own: OwnJobs,
    held: Held,
    nudge: Arc<Notify>,
    /// No more work is taken.
    stop: CancellationToken,
    /// Jobs under way are given back as they are.
    hand_back: CancellationToken,
    /// No job is under way any more, so none needs its lease.
    idle: CancellationToken,
    worker: JoinHandle<()>,
    services: Vec<JoinHandle<()>>,
}

impl Runtime {
    /// Starts the services. They run until [`shutdown`](Self::shutdown), or until the runtime is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(backends: Backends, settings: Settings) -> Self {
        let id = WorkerId(Uuid::now_v7());
        let Services {
            worker,
            keeper,
            dispatcher,
            reaper,
            recorder,
            announcer,
            held,
            own,
            hand_back,
        } = Services::new(id, &backends, &settings);
        let nudge = Arc::<Notify>::default();
        let (stop, idle) = (CancellationToken::new(), CancellationToken::new());
        let (beating, looking) = (Arc::clone(&keeper), keeper);

        let mut services = vec![
            tokio::spawn(recorder.run()),
            tokio::spawn(announcer.run()),
            tokio::spawn(until(idle.clone(), beat(beating, settings.heartbeat))),
            tokio::spawn(until(idle.clone(), look(looking))),
            tokio::spawn(until(
                stop.clone(),
                dispatch(dispatcher, Arc::clone(&nudge), settings.poll),
            )),
            tokio::spawn(until(
                stop.clone(),
                reap(
                    reaper,
                    settings.clone(),
                    own.clone(),
                    held.clone(),
                    Arc::clone(&nudge),
                    seed_of(id),
                ),
            )),
        ];
        if let Some(period) = settings.schedule {
            let scheduler =
                Scheduler::new(backends.store.clone()).observed(backends.observer.clone());
            let schedule = schedule(scheduler, Arc::clone(&nudge), period);
            services.push(tokio::spawn(until(stop.clone(), schedule)));
        }
        if let Some(keep) = settings.keep_jobs {
            let retention = Retention::new(backends.store.clone(), backends.storage.clone(), keep);
            services.push(tokio::spawn(until(stop.clone(), forget(retention))));
        }
        if settings.scope == Scope::All {
            let finisher = Finisher::new(backends.store.clone());
            let finish = finish(finisher, Arc::clone(&nudge), settings.poll, seed_of(id));
            services.push(tokio::spawn(until(stop.clone(), finish)));
        }
        let scope = settings.scope.clone();
        let work = work(worker, Arc::clone(&backends.queue), settings, stop.clone());
        Self {
            scope,
            intake: Intake::new(backends.store.clone()),
            own,
            held,
            nudge,
            stop,
            hand_back,
            idle,
            worker: tokio::spawn(work),
            services,
            backends,
        }
    }

    /// What it works with.
    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    /// What tells how much it has to do, also while it is shut down.
    pub fn load(&self) -> Load {
        Load(self.held.clone())
    }

    /// Accepts a job and has it taken up. When it answers, the job is remembered: under `id`, or it is the one that the
    /// trigger's idempotency key was used for before.
    ///
    /// # Errors
    /// Why it was not accepted; then there is no job.
    pub async fn submit(
        &self,
        id: JobId,
        pipeline: &StoredPipeline,
        trigger: Trigger,
    ) -> Result<JobId, IntakeError> {
        match self.intake.submit(id, pipeline, trigger).await? {
            Submitted::New(job) => {
                self.adopt(job);
                Ok(job)
            }
            Submitted::Existing(job) | Submitted::KeyTaken(job) => Ok(job),
        }
    }

    /// Counts a job that is in the store already and has not ended as handed to this runtime.
    pub fn adopt(&self, job: JobId) {
        if self.scope == Scope::Own {
            self.own.add(job);
        }
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

    /// Takes no more jobs, lets those under way end for at most `patience` under their leases, hands the rest back, and ends
    /// the services.
    pub async fn shutdown(self, patience: Duration) {
        self.shutdown_when(tokio::time::sleep(patience)).await;
    }

    /// As [`shutdown`](Self::shutdown), with patience until `enough` is: a second signal, say. Handing back takes at most
    /// 15 seconds more, if the store can't be reached; then the leases run out.
    pub async fn shutdown_when(mut self, enough: impl Future<Output = ()>) {
        self.stop.cancel();
        let ended = tokio::select! {
            _ = &mut self.worker => true,
            () = enough => {
                self.hand_back.cancel();
                tokio::time::timeout(HANDED_BACK_WITHIN, &mut self.worker).await.is_ok()
            }
        };
        if !ended {
            self.worker.abort();
            let _ = (&mut self.worker).await;
        }
        self.idle.cancel();
        // The drivers held the last senders of notices and log lines: these services end when all is written.
        for service in &mut self.services {
            if tokio::time::timeout(LONGEST_WAIT * 2, &mut *service)
                .await
                .is_err()
            {
                service.abort();
                tracing::warn!("a service did not end in time");
            }
        }
    }
}

/// How much a runtime has to do.
#[derive(Debug, Clone)]
pub struct Load(Held);

impl Load {
    /// How many jobs it has under a lease.
    pub fn jobs(&self) -> usize {
        self.0.count()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.worker.abort();
        for service in &self.services {
            service.abort();
        }
    }
}

/// Runs a service until a token is cancelled; what it was waiting for is dropped then.
pub(crate) async fn until(end: CancellationToken, service: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = end.cancelled() => {}
        () = service => {}
    }
}

/// Ticks for ever, at once for the first time.
async fn every(period: Duration, mut tick: impl AsyncFnMut()) {
    loop {
        tick().await;
        tokio::time::sleep(period).await;
    }
}

/// As [`every`], but up to a quarter of the period sooner each time, so that processes which were started together don't ask
/// together. By a seed and not by chance, so that a simulated run is a function of its own.
async fn about_every(period: Duration, seed: u64, mut tick: impl AsyncFnMut()) {
    for round in 0.. {
        tick().await;
        let sooner = spread::fraction(seed, [round]) / 4.0;
        tokio::time::sleep(period.mul_f64(1.0 - sooner)).await;
    }
}

/// What tells the rounds of a worker's services from those of others.
pub(crate) fn seed_of(worker: WorkerId) -> u64 {
    // The low half of a UUIDv7 is random (RFC 9562, 5.7).
    worker.0.as_u64_pair().1
}

/// Renews the leases of a worker's jobs.
pub(crate) async fn beat(keeper: Arc<Keeper>, period: Duration) {
    every(period, async move || keeper.tick().await).await;
}

/// Gives up the jobs of a worker whose lease can't be trusted any more.
pub(crate) async fn look(keeper: Arc<Keeper>) {
    loop {
        sleep_until(keeper.give_up_untrusted()).await;
    }
}

/// Publishes hints for jobs that wait, and at once when it is nudged.
pub(crate) async fn dispatch(dispatcher: Dispatcher, nudge: Arc<Notify>, poll: Duration) {
    loop {
        let older_than = tokio::select! {
            // In this order, and not by chance: a nudge that comes with the poll is not worth less.
            biased;
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

/// Takes jobs from owners that are gone, and has them dispatched at once: they have waited long enough.
pub(crate) async fn reap(
    mut reaper: Reaper,
    settings: Settings,
    own: OwnJobs,
    held: Held,
    nudge: Arc<Notify>,
    seed: u64,
) {
    about_every(settings.reap, seed, async move || {
        let sweeps = match settings.scope {
            Scope::All => vec![None],
            // Its own job, when its lease was lost: nobody else would take it up.
            Scope::Own => {
                let lost = own.all().into_iter().filter(|job| !held.holds(*job));
                lost.map(Some).collect()
            }
        };
        for sweep in sweeps {
            match reaper.tick(sweep).await {
                Ok(reaped) if reaped.is_empty() => {}
                Ok(_) => nudge.notify_one(),
                Err(error) => tracing::warn!(%error, "leases not swept"),
            }
        }
    })
    .await;
}

/// Fires what is due, and has the jobs dispatched at once.
async fn schedule(scheduler: Scheduler, nudge: Arc<Notify>, period: Duration) {
    every(period, async move || {
        loop {
            match scheduler.tick().await {
                Ok(round) if round.decided == 0 => break,
                Ok(round) => {
                    if round.jobs > 0 {
                        nudge.notify_one();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "schedules not fired");
                    break;
                }
            }
        }
    })
    .await;
}

/// Carries out what jobs left to be done, and has the jobs that come of it dispatched at once.
pub(crate) async fn finish(finisher: Finisher, nudge: Arc<Notify>, period: Duration, seed: u64) {
    about_every(period, seed, async move || {
        loop {
            match finisher.tick().await {
                Ok(0) => break,
                Ok(_) => nudge.notify_one(),
                Err(error) => {
                    tracing::warn!(%error, "hooks not carried out");
                    break;
                }
            }
        }
    })
    .await;
}

/// Forgets jobs that ended long ago.
async fn forget(retention: Retention) {
    every(FORGET_EVERY, async move || match retention.tick().await {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(jobs, "old jobs forgotten, with their artifacts"),
        Err(error) => tracing::warn!(%error, "old jobs not forgotten, trying again in an hour"),
    })
    .await;
}

/// What a worker does next.
enum Next {
    Hints(Result<Vec<Box<dyn Delivery>>, QueueError>),
    Poll,
    Ended(Option<Ended>),
    Stop,
}

async fn work(
    mut worker: Worker,
    queue: Arc<dyn Queue>,
    settings: Settings,
    stop: CancellationToken,
) {
    let (longest, mut pause) = (settings.poll * 5, settings.poll);
    let seed = seed_of(worker.id());
    let mut waits = store_waits(seed).build();
    // Times, and not delays from the last event: a busy worker looks into the store as often as an idle one.
    let (mut poll_at, mut listen_at) = (Instant::now(), Instant::now());
    let mut queue_is_open = true;
    loop {
        let free = worker.free();
        let listen = async {
            sleep_until(listen_at).await;
            queue.next(free).await
        };
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => Next::Stop,
            ended = worker.ended(), if !worker.is_idle() => Next::Ended(ended),
            () = sleep_until(poll_at), if free > 0 => Next::Poll,
            hints = listen, if free > 0 && queue_is_open => Next::Hints(hints),
        };
        let (polled, taken) = match next {
            Next::Stop => break,
            Next::Ended(ended) => {
                if ended.is_some_and(|ended| ended.made_room) {
                    poll_at = Instant::now();
                }
                continue;
            }
            Next::Hints(Ok(hints)) => (false, worker.tick(hints).await),
            Next::Hints(Err(error)) => {
                tracing::warn!(%error, "no hints, the store is asked instead");
                queue_is_open = error.kind != QueueErrorKind::Closed;
                listen_at = Instant::now() + settings.poll;
                continue;
            }
            Next::Poll => (true, worker.tick(Vec::new()).await),
        };
        let now = Instant::now();
        match taken {
            Ok(count) => {
                waits = store_waits(seed).build();
                pause = if count > 0 || !polled {
                    settings.poll
                } else {
                    (pause * 2).min(longest)
                };
                poll_at = match polled {
                    // There may be more where these came from.
                    true if count == free => now,
                    true => now + pause,
                    false => poll_at.min(now + pause),
                };
            }
            Err(error) => {
                tracing::warn!(%error, "no jobs claimed");
                poll_at = now + waits.next().unwrap_or(LONGEST_WAIT);
                listen_at = poll_at;
            }
        }
    }
    while !worker.is_idle() {
        worker.ended().await;
    }
}
