//! What all parts of a run share: its chance, its trace, its ledger, and what there is outside of the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::bug::Bug;
use super::clock::SimClock;
use super::executor::Attempts;
use super::ledger::{Law, Ledger};
use super::queue::Hints;
use super::rng::Rng;
use super::scenario::{Scenario, Weather};
use super::store::Bent;
use super::trace::{Line, Trace, Who};
use crate::contract::Clock;
use crate::memory::MemoryStore;
use crate::model::Timestamp;

/// How long after a freeze a process may act on what it had: until its keeper has looked and its attempts have stopped or were
/// dropped.
const COMES_TO: Duration = Duration::from_secs(7);

/// One run.
#[derive(Debug)]
pub(super) struct Sim {
    pub(super) scenario: Scenario,
    pub(super) bug: Option<Bug>,
    pub(super) memory: MemoryStore,
    pub(super) store_clock: Arc<SimClock>,
    pub(super) began: Instant,
    /// Rung when there are hints.
    pub(super) hinted: Notify,
    /// Rung when a law is broken or a process is to crash.
    pub(super) alarm: Notify,
    state: Mutex<State>,
}

/// What changes in a run.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) ledger: Ledger,
    pub(super) attempts: Attempts,
    pub(super) hints: Hints,
    pub(super) bent: Bent,
    pub(super) processes: BTreeMap<u32, Process>,
    /// Processes that one of their attempts kills.
    pub(super) killed: Vec<u32>,
    /// Since when nothing goes wrong any more.
    pub(super) healthy_since: Option<Timestamp>,
    /// The first law that was broken.
    pub(super) broken: Option<String>,
    pub(super) trace: Trace,
    began: Instant,
}

/// A start of a worker process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) host: usize,
    pub(super) is_frozen: bool,
    pub(super) thawed_at: Option<Instant>,
    /// It was told to stop.
    pub(super) is_draining: bool,
    /// Jobs in its hands.
    pub(super) lives: usize,
}

impl Sim {
    pub(super) fn new(seed: u64, bug: Option<Bug>, all_lines: bool) -> Self {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::new(&mut rng);
        let began = Instant::now();
        let store_clock = Arc::new(SimClock::new(began, 0));
        Self {
            scenario,
            bug,
            memory: MemoryStore::new(store_clock.clone()),
            store_clock,
            began,
            hinted: Notify::new(),
            alarm: Notify::new(),
            state: Mutex::new(State {
                rng,
                ledger: Ledger::default(),
                attempts: Attempts::default(),
                hints: Hints::default(),
                bent: Bent::default(),
                processes: BTreeMap::new(),
                killed: Vec::new(),
                healthy_since: None,
                broken: None,
                trace: Trace::new(all_lines),
                began,
            }),
        }
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The store's time.
    pub(super) fn now(&self) -> Timestamp {
        self.store_clock.now()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, who: Who, line: Line) {
        self.lock().note(who, line);
    }

    /// Ends the run if the law does not hold.
    pub(super) fn require(&self, law: Law) {
        if self.lock().require(law) {
            self.alarm.notify_one();
        }
    }

    /// How often things go wrong now.
    pub(super) fn weather(&self, state: &State) -> Weather {
        match state.healthy_since {
            None => self.scenario.weather,
            Some(_) => Weather::default(),
        }
    }
}

impl State {
    pub(super) fn note(&mut self, who: Who, line: Line) {
        // What comes after a broken law is not part of the story.
        if self.broken.is_none() {
            self.trace.note(self.began.elapsed(), who, line);
        }
    }

    /// Remembers the first law that does not hold. Answers whether this is it.
    pub(super) fn require(&mut self, law: Law) -> bool {
        match law {
            Err(broken) if self.broken.is_none() => {
                self.broken = Some(broken);
                true
            }
            _ => false,
        }
    }

    /// Whether a process may act on what it had before a freeze.
    pub(super) fn is_late(&self, process: u32) -> bool {
        self.processes.get(&process).is_some_and(|process| {
            process.is_frozen
                || process
                    .thawed_at
                    .is_some_and(|thawed_at| thawed_at.elapsed() < COMES_TO)
        })
    }
}
