//! A run from its seed to its verdict: starts the processes, lets the client work and things go wrong, then lets all come to
//! rest and looks at what is left.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::bug::Bug;
use super::client;
use super::process::{self, Drain, Gate};
use super::scenario::BlowKind;
use super::state::{Process, Sim};
use super::trace::{FOLLOWERS, Line, Who, number};
use super::{Broken, Run};

/// How long all jobs may take to end once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_hours(2);
/// How long a process that was told to stop may take to hand back what it has.
const HANDED_BACK_WITHIN: Duration = Duration::from_secs(15);
/// How long what a process lost may take to stop.
const REST: Duration = Duration::from_secs(20);

/// Something that the world does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    Crash {
        host: usize,
        back_after: Duration,
    },
    Freeze {
        host: usize,
        lasts: Duration,
    },
    Drain {
        host: usize,
        patience: Duration,
        back_after: Duration,
    },
    Leave {
        id: u32,
        back_after: Duration,
    },
    Thaw(u32),
    Start(usize),
    Heal,
    Look,
}

/// A process that runs.
struct Started {
    id: u32,
    gate: Arc<Gate>,
    drain: Drain,
    task: JoinHandle<()>,
}

struct World {
    sim: Arc<Sim>,
    agenda: BinaryHeap<Reverse<(Instant, u64, Todo)>>,
    added: u64,
    starts: u32,
    /// By host.
    processes: BTreeMap<usize, Started>,
    client: JoinHandle<()>,
    healed_at: Option<Instant>,
    over_since: Option<Instant>,
}

/// Plays one run.
pub(super) async fn play(seed: u64, bug: Option<Bug>, all_lines: bool) -> Run {
    let sim = Arc::new(Sim::new(seed, bug, all_lines));
    let client = tokio::spawn(client::run(Arc::clone(&sim)));
    let mut world = World {
        agenda: BinaryHeap::new(),
        added: 0,
        starts: 0,
        processes: BTreeMap::new(),
        client,
        healed_at: None,
        over_since: None,
        sim,
    };
    world.plan();
    world.run().await;
    world.end(seed).await
}

impl World {
    fn plan(&mut self) {
        let sim = Arc::clone(&self.sim);
        for host in 0..sim.scenario.hosts.len() {
            self.add(Duration::from_millis(host as u64), Todo::Start(host));
        }
        for blow in &sim.scenario.blows {
            let host = blow.host;
            self.add(
                blow.at,
                match blow.kind {
                    BlowKind::Crash(back_after) => Todo::Crash { host, back_after },
                    BlowKind::Freeze(lasts) => Todo::Freeze { host, lasts },
                    BlowKind::Drain {
                        patience,
                        back_after,
                    } => Todo::Drain {
                        host,
                        patience,
                        back_after,
                    },
                },
            );
        }
        self.add(sim.scenario.storm, Todo::Heal);
    }

    fn add(&mut self, after: Duration, todo: Todo) {
        self.added += 1;
        let at = Instant::now() + after;
        self.agenda.push(Reverse((at, self.added, todo)));
    }

    async fn run(&mut self) {
        while let Some(Reverse((at, _, _))) = self.agenda.peek() {
            let at = *at;
            let is_due = tokio::select! {
                biased;
                () = self.sim.alarm.notified() => false,
                () = sleep_until(at) => true,
            };
            self.bury_killed();
            if self.sim.lock().broken.is_some() {
                return;
            }
            if is_due
                && let Some(Reverse((_, _, todo))) = self.agenda.pop()
                && self.carry_out(todo)
            {
                return;
            }
        }
    }

    /// The workers that one of their attempts killed. Another starts in their place.
    fn bury_killed(&mut self) {
        let killed = std::mem::take(&mut self.sim.lock().killed);
        for id in killed {
            let host = self
                .processes
                .iter()
                .find(|(_, process)| process.id == id)
                .map(|(host, _)| *host);
            if let Some(host) = host {
                self.crash(host, Duration::from_secs(2));
            }
        }
    }

    /// Answers whether the run is over.
    fn carry_out(&mut self, todo: Todo) -> bool {
        match todo {
            Todo::Start(host) => self.start(host),
            Todo::Crash { host, back_after } => self.crash(host, back_after),
            Todo::Freeze { host, lasts } => self.freeze(host, lasts),
            Todo::Drain {
                host,
                patience,
                back_after,
            } => self.drain(host, patience, back_after),
            Todo::Leave { id, back_after } => self.leave(id, back_after),
            Todo::Thaw(id) => self.thaw(id),
            Todo::Heal => self.heal(),
            Todo::Look => return self.look(),
        }
        false
    }

    fn start(&mut self, host: usize) {
        if self.processes.contains_key(&host) {
            return;
        }
        self.starts += 1;
        let id = self.starts;
        let process = Process {
            host,
            is_frozen: false,
            thawed_at: None,
            is_draining: false,
            lives: 0,
        };
        self.sim.lock().processes.insert(id, process);
        let drain = Drain::default();
        let (gate, process) = process::start(&self.sim, id, host, drain.clone());
        let started = Started {
            id,
            gate,
            drain,
            task: tokio::spawn(process),
        };
        self.processes.insert(host, started);
    }

    fn drain(&mut self, host: usize, patience: Duration, back_after: Duration) {
        let Some(Started { id, drain, .. }) = self.processes.get(&host) else {
            return;
        };
        let (id, drain) = (*id, drain.clone());
        {
            let mut state = self.sim.lock();
            let process = state.processes.get_mut(&id);
            if process.is_none_or(|process| std::mem::replace(&mut process.is_draining, true)) {
                return;
            }
            state.note(Who::Chaos, Line::Drain(id));
        }
        drain.begin(patience);
        let gone = patience + HANDED_BACK_WITHIN;
        self.add(gone, Todo::Leave { id, back_after });
    }

    /// The time of a process that was told to stop is over.
    fn leave(&mut self, id: u32, back_after: Duration) {
        let of = self.processes.iter().find(|(_, process)| process.id == id);
        let Some((&host, process)) = of else {
            return;
        };
        if process.task.is_finished() {
            self.processes.remove(&host);
            self.sim.lock().processes.remove(&id);
            self.add(back_after, Todo::Start(host));
        } else {
            self.crash(host, back_after);
        }
    }

    fn crash(&mut self, host: usize, back_after: Duration) {
        let Some(process) = self.processes.remove(&host) else {
            return;
        };
        self.sim.note(Who::Chaos, Line::Crash(process.id));
        process.task.abort();
        let mut state = self.sim.lock();
        state.processes.remove(&process.id);
        for key in state.attempts.crashed(process.id) {
            state.note(Who::Process(process.id), Line::Dropped(key));
        }
        drop(state);
        self.add(back_after, Todo::Start(host));
    }

    fn freeze(&mut self, host: usize, lasts: Duration) {
        let Some(Started { id, gate, .. }) = self.processes.get(&host) else {
            return;
        };
        let id = *id;
        gate.shut();
        let mut state = self.sim.lock();
        state.note(Who::Chaos, Line::Freeze(id, lasts.as_millis() as u64));
        if let Some(process) = state.processes.get_mut(&id) {
            process.is_frozen = true;
        }
        drop(state);
        self.add(lasts, Todo::Thaw(id));
    }

    fn thaw(&mut self, id: u32) {
        let started = self.processes.values().find(|process| process.id == id);
        let Some(Started { gate, .. }) = started else {
            return;
        };
        let mut state = self.sim.lock();
        let Some(process) = state
            .processes
            .get_mut(&id)
            .filter(|process| process.is_frozen)
        else {
            return;
        };
        process.is_frozen = false;
        process.thawed_at = Some(Instant::now());
        state.note(Who::Chaos, Line::Thaw(id));
        drop(state);
        gate.open();
    }

    fn heal(&mut self) {
        let now = self.sim.now();
        let mut state = self.sim.lock();
        state.note(Who::Chaos, Line::Healthy);
        state.healthy_since = Some(now);
        drop(state);
        self.healed_at = Some(Instant::now());
        let frozen: Vec<u32> = self.processes.values().map(|process| process.id).collect();
        for id in frozen {
            self.thaw(id);
        }
        self.agenda.clear();
        let stopping: Vec<u32> = {
            let state = self.sim.lock();
            let stopping = state.processes.iter().filter(|(_, of)| of.is_draining);
            stopping.map(|(id, _)| *id).collect()
        };
        for id in stopping {
            self.leave(id, Duration::ZERO);
        }
        for host in 0..self.sim.scenario.hosts.len() {
            self.start(host);
        }
        self.agenda.clear();
        self.add(Duration::from_secs(1), Todo::Look);
    }

    fn look(&mut self) -> bool {
        let fallen = self
            .processes
            .iter()
            .find(|(_, process)| process.task.is_finished());
        if let Some((_, process)) = fallen {
            let law = Err(format!("w{} ended by itself", process.id));
            self.sim.require(law);
            return true;
        }
        let now = self.sim.now();
        let mut state = self.sim.lock();
        let since = state.healthy_since.unwrap_or(now);
        let law = state.ledger.goes_on(since, now);
        let is_broken = state.require(law);
        let is_over = self.client.is_finished() && state.ledger.is_over();
        drop(state);
        if is_broken {
            return true;
        }
        if !is_over {
            let waited = self.healed_at.map(|at| at.elapsed()).unwrap_or_default();
            if waited > PATIENCE {
                let (open, waiting) = {
                    let state = self.sim.lock();
                    (state.ledger.open(), state.ledger.waiting())
                };
                self.sim.require(Err(format!(
                    "L-1: jobs have not ended: {open:?}; hooks wait: {waiting:?}"
                )));
                return true;
            }
            self.over_since = None;
        } else if self.over_since.get_or_insert_with(Instant::now).elapsed() >= REST {
            return true;
        }
        self.add(Duration::from_secs(1), Todo::Look);
        false
    }

    /// All is at rest: nobody holds anything, and the store has what was committed.
    async fn at_rest(&self) -> Result<(), String> {
        let ids = {
            let state = self.sim.lock();
            for (id, process) in &state.processes {
                if process.lives > 0 {
                    return Err(format!("I-15: w{id} still holds {} jobs", process.lives));
                }
            }
            let ids = state.ledger.ids();
            for job in &ids {
                if let Some((process, key)) = state.attempts.inside(*job).next() {
                    return Err(format!(
                        "I-13: an attempt of step {} still runs in w{process}, and its job has ended",
                        key.step
                    ));
                }
            }
            ids
        };
        // The ledger is put aside, because looking into the store is asynchronous, if only in form.
        let ledger = std::mem::take(&mut self.sim.lock().ledger);
        for job in &ids {
            ledger.compare(&self.sim.memory, *job).await?;
        }
        let triggered = ids.iter().filter(|id| number(**id) < FOLLOWERS).count();
        if triggered != self.sim.scenario.orders.len() {
            return Err(format!(
                "I-2: {triggered} jobs of {} triggers",
                self.sim.scenario.orders.len()
            ));
        }
        Ok(())
    }

    async fn end(self, seed: u64) -> Run {
        if self.sim.lock().broken.is_none() {
            let law = self.at_rest().await;
            self.sim.require(law);
        }
        self.client.abort();
        let simulated = self.sim.began.elapsed();
        for process in self.processes.into_values() {
            process.task.abort();
        }
        let state = self.sim.lock();
        Run {
            seed,
            events: state.trace.count(),
            hash: state.trace.hash(),
            jobs: self.sim.scenario.orders.len(),
            simulated,
            broken: state.broken.clone().map(|law| Broken {
                law,
                event: state.trace.count(),
            }),
            lines: state.trace.lines(),
        }
    }
}
