//! Deterministic simulation: a seed gives a run of the product's own services over a store, a queue, an executor and clocks that
//! go wrong, and after every event the laws are looked at. The same seed gives the same run, event by event.
//!
//! Real are the machine, the drivers, the launcher, the worker's claims, the keeper, the dispatcher, the reaper, the finisher, the
//! intake and the memory store. Simulated are time (tokio's, paused), chance, the line to the store, the queue, the places where
//! attempts run, the crashes, freezes and drains of processes, and the loop that takes jobs. There is one thread, and nothing waits for anything
//! but simulated time. How to read a trace is in `docs/simulation.md`.
//!
//! ```
//! use etl_core::testing::sim;
//!
//! let run = sim::run(7, None);
//! assert!(run.broken.is_none(), "{run}");
//! assert_eq!(run.hash, sim::run(7, None).hash);
//! ```

mod bug;
mod client;
mod clock;
mod executor;
mod ledger;
mod process;
mod queue;
mod rng;
mod scenario;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use bug::Bug;

/// What came of a seed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// How many events there were.
    pub events: u64,
    /// All events as one number: the same for the same seed.
    pub hash: u64,
    /// How many jobs were accepted.
    pub jobs: usize,
    /// How much time passed in it.
    pub simulated: Duration,
    /// The first law that did not hold.
    pub broken: Option<Broken>,
    /// The last events, or all of them, a line each.
    pub lines: Vec<String>,
}

/// A law that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which, and by what.
    pub law: String,
    /// After which event.
    pub event: u64,
}

impl fmt::Display for Run {
    /// The lines, and what is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        match &self.broken {
            Some(broken) => write!(
                f,
                "seed {}: after event {}: {}",
                self.seed, broken.event, broken.law
            ),
            None => write!(
                f,
                "seed {}: {} events, {} jobs, {:.0} s simulated, trace {:016x}",
                self.seed,
                self.events,
                self.jobs,
                self.simulated.as_secs_f64(),
                self.hash
            ),
        }
    }
}

/// Plays a seed, with a planted bug or without, and keeps the last lines.
pub fn run(seed: u64, bug: Option<Bug>) -> Run {
    play(seed, bug, false)
}

/// Plays a seed and keeps every line.
pub fn trace(seed: u64, bug: Option<Bug>) -> Run {
    play(seed, bug, true)
}

fn play(seed: u64, bug: Option<Bug>, all_lines: bool) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("invariant: a runtime without I/O needs nothing of the system");
    runtime.block_on(world::play(seed, bug, all_lines))
}

/// What came of many seeds.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Sweep {
    /// How many were played.
    pub seeds: u64,
    /// Their events.
    pub events: u64,
    /// Their jobs.
    pub jobs: u64,
    /// The time that passed in them.
    pub simulated: Duration,
    /// The lowest seed among those played that broke a law.
    pub broken: Option<Run>,
}

/// Plays seeds on so many threads until one breaks a law, and every twentieth twice: it must come to the same.
pub fn sweep(seeds: Range<u64>, bug: Option<Bug>, threads: usize) -> Sweep {
    let next = AtomicU64::new(seeds.start);
    let end = AtomicU64::new(seeds.end);
    let found = Mutex::new(Sweep::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let played = play_checked(seed, bug);
                    let mut found = found.lock().unwrap();
                    found.seeds += 1;
                    found.events += played.events;
                    found.jobs += played.jobs as u64;
                    found.simulated += played.simulated;
                    if played.broken.is_some() {
                        // Lower ones that are under way may break it, too.
                        end.fetch_min(seed, Ordering::Relaxed);
                        if found.broken.as_ref().is_none_or(|run| run.seed > seed) {
                            found.broken = Some(played);
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

fn play_checked(seed: u64, bug: Option<Bug>) -> Run {
    let mut played = run(seed, bug);
    if seed.is_multiple_of(20) && played.broken.is_none() {
        let again = run(seed, bug);
        if again.hash != played.hash {
            played.broken = Some(Broken {
                law: format!(
                    "played twice it came to {:016x} and to {:016x}",
                    played.hash, again.hash
                ),
                event: played.events,
            });
        }
    }
    played
}
