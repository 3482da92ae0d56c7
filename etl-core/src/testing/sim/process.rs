//! A worker process: the product's own services over simulated backends, polled as one task, so that a crash drops all of it at
//! once and a freeze holds all of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bug::Bug;
use super::clock::SimClock;
use super::executor::{SimExecutor, Work};
use super::queue::SimQueue;
use super::state::Sim;
use super::store::SimStore;
use super::trace::{Line, Who};
use crate::artifact::ArtifactStorage;
use crate::contract::{NoCredentials, Queue};
use crate::memory::MemoryEvents;
use crate::model::{ExecutorKind, WorkerId};
use crate::registry::Registry;
use crate::runtime::service::{beat, dispatch, finish, look, reap, seed_of, until};
use crate::runtime::{Backends, Ended, Finisher, Services, Settings};

/// Holds a process while it is frozen.
#[derive(Debug, Default)]
pub(super) struct Gate {
    is_shut: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Gate {
    pub(super) fn shut(&self) {
        self.is_shut.store(true, Ordering::Relaxed);
    }

    pub(super) fn open(&self) {
        self.is_shut.store(false, Ordering::Relaxed);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waker {
            waker.wake_by_ref();
        }
    }
}

/// Tells a process to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Drain {
    stop: CancellationToken,
    /// How long it lets jobs end before it hands them back.
    patience: Arc<Mutex<Duration>>,
}

impl Drain {
    pub(super) fn begin(&self, patience: Duration) {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = patience;
        self.stop.cancel();
    }

    /// When it has been told to, and its patience is over.
    async fn hands_back(&self) {
        self.stop.cancelled().await;
        let patience = *self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep(patience).await;
    }
}

/// A process behind its gate.
struct Gated {
    gate: Arc<Gate>,
    process: BoxFuture<'static, ()>,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.gate.is_shut.load(Ordering::Relaxed) {
            let mut waker = self
                .gate
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.process.as_mut().poll(context)
    }
}

/// The figures of a process.
fn settings(sim: &Sim, host: usize) -> Settings {
    let host = &sim.scenario.hosts[host];
    let mut settings = Settings {
        max_jobs: host.max_jobs,
        max_steps: host.max_steps,
        ..Settings::default()
    };
    if sim.has(Bug::TrustTooLong) {
        settings.lease *= 3;
    }
    settings
}

/// Starts a process on a host. It runs until it is dropped.
pub(super) fn start(
    sim: &Arc<Sim>,
    id: u32,
    host: usize,
    drain: Drain,
) -> (Arc<Gate>, impl Future<Output = ()> + use<>) {
    let gate = Arc::<Gate>::default();
    let process = Box::pin(run(Arc::clone(sim), id, host, drain));
    let gated = Gated {
        gate: Arc::clone(&gate),
        process,
    };
    (gate, gated)
}

/// What a process does next.
enum Next {
    Hints(Result<Vec<Box<dyn crate::contract::Delivery>>, crate::contract::QueueError>),
    Poll,
    Taken(crate::contract::store::Result<Vec<BoxFuture<'static, Ended>>>),
    Ended(Ended),
    Stop,
    HandBack,
}

async fn run(sim: Arc<Sim>, id: u32, host: usize, drain: Drain) {
    let who = Who::Process(id);
    sim.note(who, Line::Up);
    let settings = settings(&sim, host);
    let executor = Arc::new(SimExecutor::new(&sim, id));
    let registry = Registry::new()
        .with(Work)
        .with_executor(ExecutorKind::InProcess, executor.clone())
        .with_executor(ExecutorKind::Docker, executor);
    let queue: Arc<dyn Queue> = Arc::new(SimQueue::new(&sim, who));
    let skew_ms = sim.scenario.hosts[host].skew_ms;
    let backends = Backends {
        store: Arc::new(SimStore::new(&sim, who, Some(host))),
        queue: Arc::clone(&queue),
        events: Arc::new(MemoryEvents::default()),
        credentials: Arc::new(NoCredentials),
        storage: ArtifactStorage::memory(),
        registry: Arc::new(registry),
        clock: Arc::new(SimClock::new(sim.began, skew_ms)),
        observer: None,
    };
    let worker_id = WorkerId(Uuid::from_u128(u128::from(id)));
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
    } = Services::new(worker_id, &backends, &settings);
    let nudge = Arc::<Notify>::default();
    let mut services = FuturesUnordered::<BoxFuture<'static, ()>>::new();
    services.push(Box::pin(beat(Arc::clone(&keeper), settings.heartbeat)));
    services.push(Box::pin(look(keeper)));
    let seed = seed_of(worker_id);
    let dispatch = dispatch(dispatcher, Arc::clone(&nudge), settings.poll);
    let reap = reap(
        reaper,
        settings.clone(),
        own,
        held,
        Arc::clone(&nudge),
        seed,
    );
    let finisher = Finisher::new(backends.store.clone());
    let finish = finish(finisher, nudge, settings.poll, seed);
    services.push(Box::pin(until(drain.stop.clone(), dispatch)));
    services.push(Box::pin(until(drain.stop.clone(), reap)));
    services.push(Box::pin(until(drain.stop.clone(), finish)));
    services.push(Box::pin(recorder.run()));
    services.push(Box::pin(announcer.run()));

    // From here the loop of `runtime::service`, but that lives are polled here and not spawned.
    let worker = Arc::new(worker);
    let mut lives = FuturesUnordered::<BoxFuture<'static, Ended>>::new();
    let mut taking: Option<BoxFuture<'static, crate::contract::store::Result<Vec<_>>>> = None;
    let (longest, mut pause) = (settings.poll * 5, settings.poll);
    let (mut poll_at, mut listen_at) = (Instant::now(), Instant::now());
    let mut polled = false;
    let mut wanted = 0;
    let mut is_stopping = false;
    let hands_back = drain.hands_back();
    tokio::pin!(hands_back);
    loop {
        if is_stopping && lives.is_empty() && taking.is_none() {
            return sim.note(who, Line::Leaves);
        }
        let free = settings.max_jobs.saturating_sub(lives.len());
        let is_idle = taking.is_none() && free > 0 && !is_stopping;
        let listen = async {
            sleep_until(listen_at).await;
            queue.next(free).await
        };
        let taken = async {
            match &mut taking {
                Some(taking) => taking.await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            () = drain.stop.cancelled(), if !is_stopping => Next::Stop,
            () = &mut hands_back, if !hand_back.is_cancelled() => Next::HandBack,
            // Those that are told to stop end one by one; the others never do.
            _ = services.next() => if is_stopping { continue } else { return },
            Some(ended) = lives.next(), if !lives.is_empty() => Next::Ended(ended),
            taken = taken => Next::Taken(taken),
            () = sleep_until(poll_at), if is_idle && !sim.has(Bug::HintsAreTruth) => Next::Poll,
            hints = listen, if is_idle => Next::Hints(hints),
        };
        let now = Instant::now();
        match next {
            Next::Stop => is_stopping = true,
            Next::HandBack => {
                sim.note(who, Line::HandsBack);
                hand_back.cancel();
            }
            Next::Ended(ended) => {
                sim.note(who, Line::Ended(ended.job, ended.status));
                has_lives(&sim, id, lives.len());
                let law = lets_go(&sim, ended);
                sim.require(law);
                if ended.made_room {
                    poll_at = now;
                }
            }
            Next::Hints(Err(_)) => listen_at = now + settings.poll,
            Next::Hints(Ok(hints)) => {
                (polled, wanted) = (false, free);
                let worker = Arc::clone(&worker);
                taking = Some(Box::pin(async move { worker.take(hints, free).await }));
            }
            Next::Poll => {
                (polled, wanted) = (true, free);
                let worker = Arc::clone(&worker);
                taking = Some(Box::pin(async move { worker.take(Vec::new(), free).await }));
            }
            Next::Taken(Ok(taken)) => {
                taking = None;
                let count = taken.len();
                lives.extend(taken);
                has_lives(&sim, id, lives.len());
                pause = if count > 0 || !polled {
                    settings.poll
                } else {
                    (pause * 2).min(longest)
                };
                poll_at = match polled {
                    true if count == wanted => now,
                    true => now + pause,
                    false => poll_at.min(now + pause),
                };
            }
            Next::Taken(Err(_)) => {
                taking = None;
                poll_at = now + Duration::from_millis(500);
                listen_at = poll_at;
            }
        }
    }
}

fn has_lives(sim: &Sim, id: u32, count: usize) {
    if let Some(process) = sim.lock().processes.get_mut(&id) {
        process.lives = count;
    }
}

/// What a worker says of a job that it lets go as ended is what the store has.
fn lets_go(sim: &Sim, ended: Ended) -> Result<(), String> {
    let remembered = sim.lock().ledger.status(ended.job);
    if ended.status.is_terminal() && remembered != Some(ended.status) {
        return Err(format!(
            "I-8: job {} was let go as {}, remembered is {remembered:?}",
            super::trace::number(ended.job),
            ended.status
        ));
    }
    Ok(())
}
