//! The attempts of a run: what each will do when, and the laws of their effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::MAX_RECOVERIES;
use crate::model::{AttemptKey, ErrorClass, JobId, StepKey, StepTask};
use crate::testing::sim::ledger::Law;
use crate::testing::sim::rng::Rng;
use crate::testing::sim::scenario::Weather;
use crate::testing::sim::trace::number;

/// All attempts that were ever started.
#[derive(Debug, Default)]
pub(in crate::testing::sim) struct Attempts {
    all: BTreeMap<AttemptKey, Attempt>,
    effects: BTreeSet<AttemptKey>,
    /// The attempts that killed their worker.
    kills: BTreeMap<(JobId, StepKey), BTreeSet<u32>>,
}

/// Where an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In its worker, with which it ends.
    Inside,
    /// Elsewhere: it outlives its worker, and its outcome is kept for who adopts it.
    Outside,
}

/// What an attempt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Checkpoint(u64),
    Effect,
    Kill,
    End(Ending),
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Well,
    Badly(ErrorClass),
}

/// One attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Who started it.
    pub(super) process: u32,
    place: Place,
    /// It was started by a process that stood still and did not know that the job was somebody else's.
    pub(super) is_late: bool,
    /// Its effect must not come twice.
    once: bool,
    plan: VecDeque<(Instant, Act)>,
    told_to_stop: bool,
    is_over: bool,
    /// Who listens to it: the last that attached.
    attachment: u32,
    changed: Arc<Notify>,
}

impl Attempt {
    pub(super) fn new(
        process: u32,
        place: Place,
        task: &StepTask,
        is_late: bool,
        plan: VecDeque<(Instant, Act)>,
    ) -> Self {
        Self {
            process,
            place,
            is_late,
            once: task.config.get("once").is_some(),
            plan,
            told_to_stop: false,
            is_over: false,
            attachment: 1,
            changed: Arc::new(Notify::new()),
        }
    }
}

/// What an attempt is going to do.
pub(super) fn plan(
    task: &StepTask,
    now: Instant,
    rng: &mut Rng,
    weather: Weather,
    is_healthy: bool,
) -> VecDeque<(Instant, Act)> {
    let mut plan = VecDeque::new();
    let takes = if rng.chance(150) {
        rng.millis(1_000, 12_000)
    } else {
        rng.millis(1, 900)
    };
    let before = task.checkpoint.as_ref().and_then(serde_json::Value::as_u64);
    let mut number = before.unwrap_or(0);
    if rng.chance(400) {
        for _ in 0..rng.between(1, 3) {
            number += 1;
            plan.push_back((now + takes.mul_f64(0.2), Act::Checkpoint(number)));
        }
    }
    if task.config.get("kills").is_some() || rng.chance(weather.kills) {
        plan.push_back((now + takes, Act::Kill));
        return plan;
    }
    let ending = match rng.below(100) {
        0..=9 => Ending::Badly(ErrorClass::Transient),
        10..=11 => Ending::Badly(ErrorClass::Throttled),
        12..=13 => Ending::Badly(ErrorClass::Permanent),
        14 => Ending::Badly(rng.pick(&[ErrorClass::Auth, ErrorClass::Poison])),
        // It hangs until it is told to stop.
        15..=18 if !is_healthy => {
            plan.push_back((now + Duration::from_hours(100), Act::End(Ending::Well)));
            return plan;
        }
        _ => Ending::Well,
    };
    if ending == Ending::Well {
        plan.push_back((now + takes.mul_f64(0.9), Act::Effect));
    }
    plan.push_back((now + takes, Act::End(ending)));
    plan
}

impl Attempts {
    /// The attempts that have had their effect.
    pub(in crate::testing::sim) fn effects(&self) -> &BTreeSet<AttemptKey> {
        &self.effects
    }

    /// The attempts of a job that are alive in a worker, with the worker.
    pub(in crate::testing::sim) fn inside(
        &self,
        job: JobId,
    ) -> impl Iterator<Item = (u32, AttemptKey)> {
        self.of_job(job)
            .filter(|(_, attempt)| attempt.place == Place::Inside)
            .map(|(key, attempt)| (attempt.process, key))
    }

    fn of_job(&self, job: JobId) -> impl Iterator<Item = (AttemptKey, &Attempt)> {
        let first = AttemptKey {
            job,
            step: StepKey::step(0),
            attempt: 0,
        };
        self.all
            .range(first..)
            .take_while(move |(key, _)| key.job == job)
            .filter(|(_, attempt)| !attempt.is_over)
            .map(|(key, attempt)| (*key, attempt))
    }

    /// The attempts of the same step that are alive.
    pub(super) fn of_step(&self, of: AttemptKey) -> impl Iterator<Item = (AttemptKey, &Attempt)> {
        self.of_job(of.job)
            .filter(move |(key, _)| key.step == of.step)
    }

    pub(super) fn begin(&mut self, key: AttemptKey, attempt: Attempt, slots: usize) -> Law {
        if self.all.contains_key(&key) {
            return Err(format!(
                "I-4: step {} attempt {} of job {} is started twice",
                key.step,
                key.attempt,
                number(key.job)
            ));
        }
        let process = attempt.process;
        self.all.insert(key, attempt);
        let busy = self.all.values().filter(|other| {
            // What is outside may be nobody's: whoever lost the job left it to the next owner.
            other.process == process
                && other.place == Place::Inside
                && !other.is_over
                && !other.told_to_stop
        });
        let busy = busy.count();
        if busy > slots {
            return Err(format!(
                "I-15: w{process} runs {busy} attempts and has {slots} slots"
            ));
        }
        Ok(())
    }

    /// Attaches to an attempt that outlived its worker.
    pub(super) fn adopt(&mut self, key: AttemptKey) -> Option<u32> {
        let attempt = self.all.get_mut(&key)?;
        if attempt.place == Place::Inside {
            return None;
        }
        attempt.attachment += 1;
        attempt.changed.notify_waiters();
        Some(attempt.attachment)
    }

    /// When the attempt does something next, for whoever listens to it.
    pub(super) fn next(&self, key: AttemptKey, attachment: u32) -> Option<(Instant, Arc<Notify>)> {
        let attempt = self.all.get(&key)?;
        let (at, _) = attempt.plan.front()?;
        (attempt.attachment == attachment).then(|| (*at, Arc::clone(&attempt.changed)))
    }

    /// What is due. An outcome stays, for who adopts the attempt after this listener.
    pub(super) fn take(&mut self, key: AttemptKey, attachment: u32) -> Option<Act> {
        let attempt = self.all.get_mut(&key)?;
        let (at, act) = *attempt.plan.front()?;
        if attempt.attachment != attachment || at > Instant::now() {
            return None;
        }
        if !matches!(act, Act::End(_)) {
            attempt.plan.pop_front();
        }
        Some(act)
    }

    pub(super) fn has_effect(&mut self, key: AttemptKey) -> Law {
        self.effects.insert(key);
        let once = self.all.get(&key).is_some_and(|attempt| attempt.once);
        let first = AttemptKey { attempt: 0, ..key };
        let last = AttemptKey {
            attempt: u32::MAX,
            ..key
        };
        let times = self.effects.range(first..=last).count();
        if once && times > 1 {
            return Err(format!(
                "I-12: step {} of job {} had an effect {times} times that must come at most once",
                key.step,
                number(key.job)
            ));
        }
        Ok(())
    }

    pub(super) fn kills(&mut self, key: AttemptKey) -> Law {
        let kills = self.kills.entry((key.job, key.step)).or_default();
        kills.insert(key.attempt);
        if kills.len() > MAX_RECOVERIES as usize + 1 {
            return Err(format!(
                "I-10: step {} of job {} killed {} workers",
                key.step,
                number(key.job),
                kills.len()
            ));
        }
        Ok(())
    }

    pub(super) fn ends(&mut self, key: AttemptKey) {
        if let Some(attempt) = self.all.get_mut(&key) {
            attempt.is_over = true;
        }
    }

    /// Tells an attempt to stop; it ends at this time at the latest. What it was to do before now it has done.
    pub(super) fn stop(
        &mut self,
        key: AttemptKey,
        attachment: u32,
        at: Instant,
        well: bool,
    ) -> Law {
        let now = Instant::now();
        let Some(attempt) = self.all.get_mut(&key).filter(|attempt| !attempt.is_over) else {
            return Ok(());
        };
        if attempt.attachment != attachment {
            return Err(format!(
                "I-13: step {} attempt {} of job {} is stopped by who lost it, and its next owner has adopted it",
                key.step,
                key.attempt,
                number(key.job)
            ));
        }
        attempt.told_to_stop = true;
        let ends_before = attempt
            .plan
            .iter()
            .any(|(due, act)| matches!(act, Act::End(_)) && *due <= at);
        if !ends_before {
            attempt.plan.retain(|(due, _)| *due <= now);
            let is_done = self.effects.contains(&key)
                || attempt.plan.iter().any(|(_, act)| *act == Act::Effect);
            let ending = if well && is_done {
                Ending::Well
            } else {
                Ending::Badly(ErrorClass::Transient)
            };
            attempt.plan.push_back((at, Act::End(ending)));
        }
        attempt.changed.notify_waiters();
        Ok(())
    }

    /// A process is gone, and with it what ran inside it: its listeners are dropped when its task is polled again, and others
    /// may act before that in the same instant.
    pub(in crate::testing::sim) fn crashed(&mut self, process: u32) -> Vec<AttemptKey> {
        let of = self.all.iter_mut().filter(|(_, attempt)| {
            attempt.process == process && attempt.place == Place::Inside && !attempt.is_over
        });
        of.map(|(key, attempt)| {
            attempt.is_over = true;
            *key
        })
        .collect()
    }

    /// Its listener is gone. Answers whether the attempt ended with it.
    pub(super) fn dropped(&mut self, key: AttemptKey) -> bool {
        let attempt = self.all.get_mut(&key);
        attempt
            .filter(|attempt| attempt.place == Place::Inside && !attempt.is_over)
            .map(|attempt| attempt.is_over = true)
            .is_some()
    }
}
