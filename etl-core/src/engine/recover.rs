//! How a machine begins: with a new job, or with what another worker left. Not a path of its own: the same machine, whose
//! first effects are `Adopt`s instead of `Start`s.

use super::MAX_RECOVERIES;
use super::effect::Effect;
use super::fanout::FanOut;
use super::machine::{JobMachine, StepState, StopCause, settled_as};
use crate::model::{
    AttemptKey, Change, EffectClass, ErrorClass, JobSnapshot, JobStatus, SkipReason, StepError,
    StepKey, StepPatch, StepSnapshot, StepStatus, Timestamp,
};
use std::collections::BTreeMap;

impl JobMachine {
    pub(super) fn begin(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(snapshot) = self.snapshot.take() else {
            return;
        };
        let initial = self.frontier.initial(&self.plan.dag);
        for step in &snapshot.steps {
            if step.key.item.is_none() {
                self.restore_step(step);
            }
        }
        for step in &snapshot.steps {
            if let Some(item) = step.key.item {
                self.restore_item(step, item);
            }
        }
        let fan_outs: Vec<u32> = self.fan_outs.keys().copied().collect();
        for step in &fan_outs {
            self.regather_fact(*step);
        }
        for step in &snapshot.steps {
            if step.status == StepStatus::Running && step.items.is_none() {
                let key = self.attempt_key(step.key, step.attempt);
                self.adopting.insert(step.key, step.attempt);
                effects.push(Effect::Adopt(key));
            }
        }
        for step in fan_outs {
            let states = &self.fan_outs[&step].states;
            let waiting = states
                .iter()
                .enumerate()
                .filter(|(_, state)| state.status == StepStatus::Pending);
            self.ready
                .extend(waiting.map(|(item, _)| StepKey::item(step, item as u32)));
            self.gather(step);
        }
        for step in initial {
            if self.steps[step as usize].status == StepStatus::Pending {
                self.admit(step, now);
            }
        }
        if let Some(reason) = snapshot.cancel_requested {
            self.stop(JobStatus::Cancelled, reason, effects);
        }
    }

    fn restore_step(&mut self, step: &StepSnapshot) {
        let Some(state) = self.steps.get_mut(step.key.step as usize) else {
            return;
        };
        *state = restored(step);
        if let Some(items) = &step.items {
            let is_read = self.plan.step(step.key.step).is_read;
            self.fan_outs
                .insert(step.key.step, FanOut::new(items.clone(), is_read));
        }
        self.restore_common(step);
        if step.status.is_terminal() {
            self.unsettled -= 1;
            self.settling
                .push_back((step.key.step, settled_as(step.status, step.skip_reason)));
            if step.items.is_none() {
                self.keep_fact(
                    step.key,
                    step.status,
                    &step.output,
                    &step.artifacts,
                    step.rows_processed,
                );
            }
        }
    }

    fn restore_item(&mut self, step: &StepSnapshot, item: u32) {
        self.restore_common(step);
        let Some(fan_out) = self.fan_outs.get_mut(&step.key.step) else {
            return;
        };
        let Some(state) = fan_out.states.get_mut(item as usize) else {
            return;
        };
        *state = restored(step);
        if step.status.is_terminal() {
            fan_out.open -= 1;
            fan_out.failed |= matches!(step.status, StepStatus::Failed | StepStatus::Timeout);
        }
        if step.status == StepStatus::Success {
            let report = crate::model::Report {
                rows_processed: step.rows_processed,
                bytes_transferred: step.bytes_transferred,
                output: step.output.clone(),
                balance: None,
            };
            self.keep_item(step.key.step, item, &report, &step.artifacts);
        }
    }

    /// The fact of a fan-out that was settled before: its outputs are those of its items.
    fn regather_fact(&mut self, step: u32) {
        let status = self.steps[step as usize].status;
        let Some(fan_out) = self.fan_outs.get(&step).filter(|fan_out| fan_out.open == 0) else {
            return;
        };
        if status.is_terminal() && self.plan.step(step).is_read {
            let outputs = serde_json::Value::Array(fan_out.outputs.clone());
            let fact =
                crate::template::Fact::step(status, &outputs, &fan_out.artifacts, fan_out.rows);
            self.facts.insert(step, fact);
        }
    }

    fn restore_common(&mut self, step: &StepSnapshot) {
        if let Some((_, state)) = &step.checkpoint {
            self.checkpoints.insert(step.key, state.clone());
        }
        match step.status {
            StepStatus::Success if step.items.is_none() => {
                self.totals.rows = self.totals.rows.saturating_add(step.rows_processed);
                self.totals.bytes = self.totals.bytes.saturating_add(step.bytes_transferred);
            }
            StepStatus::Failed | StepStatus::Timeout if step.items.is_none() => {
                self.failures.count += 1;
                if self.failures.first.is_none() {
                    let name = &self.plan.step(step.key.step).name;
                    self.failures.first = Some((
                        format!("step \"{name}\" failed before this worker took over"),
                        None,
                    ));
                }
            }
            StepStatus::Retrying => {
                self.retries
                    .insert((step.due_at.unwrap_or_default(), step.key));
            }
            _ => {}
        }
    }

    /// Whether an attempt of the last owner was found. If not, it is lost and its step starts again, within a bound of its
    /// own: a step that kills its workers must come to an end.
    pub(super) fn adopted(
        &mut self,
        key: AttemptKey,
        found: bool,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if self.adopting.remove(&key.step) != Some(key.attempt) {
            return;
        }
        let planned_timeout = self.plan.step(key.step.step).timeout;
        if found {
            self.track(key.step, key.attempt, now + planned_timeout);
            if !self.is_running() {
                self.stop_attempt(key.step, StopCause::JobEnds, effects);
            }
            return;
        }
        let at_most_once = self.plan.step(key.step.step).effects == Some(EffectClass::AtMostOnce);
        let stopping = !self.is_running();
        let Some(state) = self.state(key.step) else {
            return;
        };
        state.lost += 1;
        let lost = state.lost;
        if stopping {
            // `conclude` ends it with the other open ones.
        } else if at_most_once {
            let error = StepError::permanent(
                "its worker was lost while it ran, and its effect must not happen twice: see whether it happened, then \
                 retry the job or mark it as done by hand",
            );
            self.bury(key.step, key.attempt, StepStatus::Failed, &error);
        } else if lost > MAX_RECOVERIES {
            let error = StepError::new(
                ErrorClass::Poison,
                format!(
                    "{lost} attempts of it were lost with their worker: it may be what ends them"
                ),
            );
            self.bury(key.step, key.attempt, StepStatus::Failed, &error);
        } else {
            let error = StepError::transient("its worker was lost");
            self.retry(key.step, key.attempt, now, Some(&error));
            self.retries.remove(&(now, key.step));
            self.ready.push_front(key.step);
        }
    }
}

/// The changes that end a job which can't be run at all: nothing of it is left open.
pub fn give_up(job: &JobSnapshot, error: String) -> Vec<Change> {
    let known: BTreeMap<StepKey, &StepSnapshot> =
        job.steps.iter().map(|step| (step.key, step)).collect();
    let plain = (0..job.document.steps.len() as u32).map(StepKey::step);
    let items = job
        .steps
        .iter()
        .filter_map(|step| Some((step.key.step, step.items.as_ref()?.len() as u32)));
    let items =
        items.flat_map(|(step, items)| (0..items).map(move |item| StepKey::item(step, item)));
    let mut changes = Vec::new();
    for key in items.chain(plain) {
        let (status, attempt) = known
            .get(&key)
            .map_or((StepStatus::Pending, 0), |step| (step.status, step.attempt));
        let (to, skip_reason) = match status {
            StepStatus::Pending => (StepStatus::Skipped, Some(SkipReason::JobEnded)),
            StepStatus::Running | StepStatus::Retrying => (StepStatus::Cancelled, None),
            _ => continue,
        };
        let patch = Box::new(StepPatch {
            skip_reason,
            ..StepPatch::default()
        });
        changes.push(Change::Step {
            key,
            attempt,
            to,
            patch,
        });
    }
    changes.push(Change::Job {
        to: JobStatus::Failed,
        error: Some(error),
        error_stack: None,
        rows_processed: 0,
        bytes_transferred: 0,
    });
    changes
}

fn restored(step: &StepSnapshot) -> StepState {
    StepState {
        status: step.status,
        attempt: step.attempt,
        lost: step.lost,
        returned: step.returned,
        checkpoint: step.checkpoint.as_ref().map_or(0, |(seq, _)| *seq),
    }
}
