//! How a job ends: because everything is settled, or because somebody wants it to.

use serde_json::Value;

use super::effect::Effect;
use super::machine::{JobMachine, Phase, StopCause};
use crate::model::{
    AttemptKey, Change, HookRow, HookTarget, JobStatus, SkipReason, StepKey, StepPatch, StepStatus,
};
use crate::plan::PlanHook;
use crate::template::Scope;

impl JobMachine {
    /// Begins the end of the job: nothing starts any more, and what runs is told to stop.
    pub(super) fn stop(&mut self, to: JobStatus, reason: String, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Running => {}
            Phase::HandingBack => self.keep(effects),
            Phase::Stopping { .. } | Phase::Ended => return,
        }
        self.phase = Phase::Stopping { to, reason };
        self.ready.clear();
        self.stop_attempts(effects);
    }

    /// Begins to give the job back: nothing starts any more, what runs here is told to stop, and what outlives its worker is
    /// left to the next owner, who finds it.
    pub(super) fn hand_back(&mut self, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Running {
            return;
        }
        self.snapshot = None;
        self.phase = Phase::HandingBack;
        self.ready.clear();
        self.adopting.clear();
        let (plan, job) = (self.plan.clone(), self.job);
        let left = self
            .running
            .extract_if(.., |key, _| plan.step(key.step).executor.outlives_worker());
        self.left = left
            .map(|(step, running)| AttemptKey {
                job,
                step,
                attempt: running.attempt,
            })
            .collect();
        self.stop_attempts(effects);
    }

    /// The job is not given back after all, because it ends here: nobody is to find what was left to the next owner.
    fn keep(&mut self, effects: &mut Vec<Effect>) {
        effects.extend(self.left.drain(..).map(Effect::Stop));
        for running in self.running.values_mut() {
            if running.stopped == Some(StopCause::HandBack) {
                running.stopped = Some(StopCause::JobEnds);
            }
        }
    }

    fn stop_attempts(&mut self, effects: &mut Vec<Effect>) {
        let cause = self.stop_cause();
        let keys: Vec<StepKey> = self.running.keys().copied().collect();
        for key in keys {
            // One that is not started yet is never started: `committed` sees to it.
            self.stop_attempt(key, cause.clone(), effects);
        }
    }

    /// Why an attempt is stopped in the phase in which nothing starts any more.
    pub(super) fn stop_cause(&self) -> StopCause {
        match self.phase {
            Phase::HandingBack => StopCause::HandBack,
            _ => StopCause::JobEnds,
        }
    }

    /// Ends the job when there is nothing left to wait for.
    pub(super) fn conclude(&mut self, effects: &mut Vec<Effect>) {
        if !self.running.is_empty() || self.phase == Phase::Ended || !self.adopting.is_empty() {
            return;
        }
        let (to, error) = match &self.phase {
            Phase::Running if self.unsettled > 0 => return,
            Phase::HandingBack if self.unsettled > 0 => return self.leave(effects),
            // Nothing is left for another worker if the last step ended while the job was being given back.
            Phase::Running | Phase::HandingBack if self.failures.count > 0 => {
                (JobStatus::Failed, None)
            }
            Phase::Running | Phase::HandingBack => (JobStatus::Success, None),
            Phase::Stopping { to, reason } => (*to, Some(reason.clone())),
            Phase::Ended => return,
        };
        self.end_open_steps();
        let (mut message, stack) = match (error, self.failures.first.take()) {
            (Some(reason), _) => (Some(reason), None),
            (None, Some((first, stack))) => {
                let others = self.failures.count - 1;
                let message = if others == 0 {
                    first
                } else {
                    format!("{first} (and {others} more)")
                };
                (Some(message), stack)
            }
            (None, None) => (None, None),
        };
        if let Some(fault) = self.record_hooks(to) {
            message = Some(message.map_or(fault.clone(), |message| format!("{message}; {fault}")));
        }
        self.change(Change::Job {
            to,
            error: message,
            error_stack: stack,
            rows_processed: self.totals.rows,
            bytes_transferred: self.totals.bytes,
        });
        self.phase = Phase::Ended;
        self.release_all(effects);
        self.afterwards(Effect::Close(to));
    }

    /// Gives the job back with its step rows as they are.
    fn leave(&mut self, effects: &mut Vec<Effect>) {
        self.change(Change::Job {
            to: JobStatus::Pending,
            error: None,
            error_stack: None,
            rows_processed: self.totals.rows,
            bytes_transferred: self.totals.bytes,
        });
        self.phase = Phase::Ended;
        self.release_all(effects);
        self.afterwards(Effect::Close(JobStatus::Pending));
    }

    fn end_open_steps(&mut self) {
        let fan_outs: Vec<u32> = self.fan_outs.keys().copied().collect();
        for step in fan_outs {
            for item in 0..self.fan_outs[&step].states.len() as u32 {
                self.end_open(StepKey::item(step, item));
            }
        }
        for step in 0..self.steps.len() as u32 {
            self.end_open(StepKey::step(step));
        }
        self.retries.clear();
        self.deadlines.clear();
        self.settling.clear();
    }

    fn end_open(&mut self, key: StepKey) {
        let Some(state) = self.state(key) else { return };
        let attempt = state.attempt;
        let (to, patch) = match state.status {
            StepStatus::Pending => (
                StepStatus::Skipped,
                StepPatch {
                    skip_reason: Some(SkipReason::JobEnded),
                    ..StepPatch::default()
                },
            ),
            StepStatus::Running | StepStatus::Retrying => {
                (StepStatus::Cancelled, StepPatch::default())
            }
            _ => return,
        };
        state.status = to;
        self.change_step(key, attempt, to, patch);
        self.keep_fact(key, to, &Value::Null, &[], 0);
    }

    /// Remembers what is to happen after the job. What can't be rendered is said, not lost.
    fn record_hooks(&mut self, to: JobStatus) -> Option<String> {
        let plan = self.plan.clone();
        let hooks: &[PlanHook] = match to {
            JobStatus::Success => &plan.on_success,
            JobStatus::Failed | JobStatus::Timeout => &plan.on_failure,
            // Who cancelled it knows, and wants an end: a failure hook that repeats the job would undo that.
            _ => &[],
        };
        let mut faults = Vec::new();
        for (position, planned) in hooks.iter().enumerate() {
            match self.hook_target(planned) {
                Ok(Some(target)) => self.change(Change::Hook(HookRow {
                    position: position as u32,
                    target,
                })),
                Ok(None) => {}
                Err(fault) => faults.push(format!("hook {}: {fault}", position + 1)),
            }
        }
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    fn hook_target(&self, planned: &PlanHook) -> Result<Option<HookTarget>, String> {
        let hook = &planned.hook;
        if let Some(name) = &hook.trigger_pipeline {
            let scope = Scope {
                params: Some(self.params.clone()),
                job: Some(self.job_fact.clone()),
                steps: self
                    .facts
                    .iter()
                    .map(|(step, fact)| (self.plan.step(*step).name.clone(), fact.clone()))
                    .collect(),
                item: None,
            };
            let parameters = planned
                .parameters
                .render(&scope)
                .map_err(|fault| fault.to_string())?;
            let parameters = parameters.as_object().cloned().unwrap_or_default();
            let after = self.pipeline.clone();
            return Ok(Some(HookTarget::TriggerPipeline {
                name: name.clone(),
                parameters,
                after,
            }));
        }
        let webhook = hook.webhook.clone();
        Ok(webhook.map(|url| HookTarget::Webhook {
            url,
            credential: hook.credential.clone(),
        }))
    }
}
