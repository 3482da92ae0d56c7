//! When something happens: the slots that executions run in, and the times at which a wait or a limit ends.

use super::effect::Effect;
use super::machine::{JobMachine, Phase, StopCause};
use crate::model::{JobStatus, Timestamp};

impl JobMachine {
    /// How many more slots it could use right now.
    pub fn wanted(&self) -> usize {
        match self.phase {
            Phase::Running => self
                .startable()
                .saturating_sub(self.slots - self.running.len().min(self.slots)),
            _ => 0,
        }
    }

    pub(super) fn time_passes(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Running && self.deadline.is_some_and(|deadline| deadline <= now) {
            let limit = self.plan.pipeline.timeout_seconds.unwrap_or_default();
            self.stop(
                JobStatus::Timeout,
                format!("the job ran longer than its {limit} s"),
                effects,
            );
        }
        while let Some(&(at, key)) = self.retries.first().filter(|(at, _)| *at <= now) {
            self.retries.remove(&(at, key));
            self.ready.push_back(key);
        }
        while let Some(&(at, key)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, key));
            self.stop_attempt(key, StopCause::Timeout, effects);
        }
    }

    pub(super) fn wake(&mut self, effects: &mut Vec<Effect>) {
        let retry = self.retries.first().map(|(at, _)| *at);
        let step_deadline = self.deadlines.first().map(|(at, _)| *at);
        let job_deadline = self.deadline.filter(|_| self.phase == Phase::Running);
        let next = [retry, step_deadline, job_deadline]
            .into_iter()
            .flatten()
            .min();
        if let Some(at) = next.filter(|_| next != self.woken_for) {
            self.woken_for = next;
            effects.push(Effect::Wake(at));
        }
    }

    pub(super) fn max_parallel(&self) -> usize {
        self.plan
            .pipeline
            .max_parallel_steps
            .map_or(usize::MAX, |limit| limit as usize)
    }

    /// How many of the ready executions may start beside those that run.
    fn startable(&self) -> usize {
        self.ready
            .len()
            .min(self.max_parallel().saturating_sub(self.running.len()))
    }

    /// One free slot goes to others before it is used again, so that a wide job doesn't hold all of them to its end.
    pub(super) fn give_way(&mut self, effects: &mut Vec<Effect>) {
        if self.yields && self.slots > self.running.len() {
            self.yields = false;
            self.slots -= 1;
            effects.push(Effect::Release(1));
        }
    }

    pub(super) fn release(&mut self, effects: &mut Vec<Effect>) {
        let needed = self.running.len()
            + if self.phase == Phase::Running {
                self.startable()
            } else {
                0
            };
        if self.slots > needed {
            effects.push(Effect::Release(self.slots - needed));
            self.slots = needed;
        }
    }

    pub(super) fn release_all(&mut self, effects: &mut Vec<Effect>) {
        if self.slots > 0 {
            effects.push(Effect::Release(self.slots));
            self.slots = 0;
        }
    }
}
