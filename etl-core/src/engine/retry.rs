//! What a failed attempt means: another one after a wait, or the end of its step. The one place where an error's class
//! becomes a retry or a failure.

use serde_json::Value;

use super::backoff;
use super::machine::{JobMachine, Phase, Running, StopCause};
use crate::model::{
    Change, DeadLetter, EffectClass, StepError, StepKey, StepPatch, StepStatus, Timestamp,
};

impl JobMachine {
    pub(super) fn fail_attempt(
        &mut self,
        key: StepKey,
        running: &Running,
        mut error: StepError,
        now: Timestamp,
    ) {
        let plan = self.plan.clone();
        let planned = plan.step(key.step);
        let ends_as = match running.stopped {
            Some(StopCause::JobEnds) => StepStatus::Cancelled,
            Some(StopCause::Timeout) => {
                error = StepError::transient(format!(
                    "it ran longer than its {} s",
                    planned.timeout.as_secs()
                ));
                StepStatus::Timeout
            }
            Some(StopCause::HandBack) if planned.effects == Some(EffectClass::AtMostOnce) => {
                error = StepError::permanent(
                    "its worker was told to stop while it ran, and its effect must not happen twice: see whether it happened, then \
                     retry the job or mark it as done by hand",
                );
                StepStatus::Failed
            }
            Some(StopCause::HandBack | StopCause::Broken(_)) | None => StepStatus::Failed,
        };
        let Some(state) = self.state(key) else { return };
        let uncounted = state.lost.saturating_add(state.returned);
        let failures = state.attempt.saturating_sub(uncounted);
        // What was stopped may have had its effect.
        let may_repeat =
            running.stopped.is_none() || planned.effects != Some(EffectClass::AtMostOnce);
        let again = error.class.is_retryable()
            && may_repeat
            && failures <= planned.retry_count
            && matches!(self.phase, Phase::Running | Phase::HandingBack);
        if ends_as == StepStatus::Cancelled {
            self.change_step(
                key,
                running.attempt,
                StepStatus::Cancelled,
                StepPatch::default(),
            );
            self.keep_fact(key, StepStatus::Cancelled, &Value::Null, &[], 0);
            self.settled(key, StepStatus::Cancelled, None);
        } else if running.stopped == Some(StopCause::HandBack) && may_repeat {
            self.give_back(key, running.attempt, now);
        } else if again {
            let wait = backoff::delay(
                &planned.retry,
                failures,
                error.retry_after,
                self.seed(),
                key,
            );
            self.retry(key, running.attempt, now + wait, Some(&error));
        } else {
            self.bury(key, running.attempt, ends_as, &error);
        }
    }

    /// An attempt that was stopped because its worker stops. The next worker starts another at once.
    pub(super) fn give_back(&mut self, key: StepKey, attempt: u32, now: Timestamp) {
        let Some(state) = self.state(key) else { return };
        state.status = StepStatus::Retrying;
        state.returned += 1;
        let patch = StepPatch {
            due_at: Some(now),
            returned: Some(state.returned),
            ..failure_patch(Some(&StepError::transient("its worker was told to stop")))
        };
        self.change_step(key, attempt, StepStatus::Retrying, patch);
    }

    pub(super) fn retry(
        &mut self,
        key: StepKey,
        attempt: u32,
        due: Timestamp,
        error: Option<&StepError>,
    ) {
        let Some(state) = self.state(key) else { return };
        state.status = StepStatus::Retrying;
        let lost = state.lost;
        self.retries.insert((due, key));
        let patch = StepPatch {
            due_at: Some(due),
            lost: Some(lost),
            ..failure_patch(error)
        };
        self.change_step(key, attempt, StepStatus::Retrying, patch);
    }

    /// A step execution that failed for good.
    pub(super) fn bury(&mut self, key: StepKey, attempt: u32, to: StepStatus, error: &StepError) {
        let name = self.plan.step(key.step).name.clone();
        let lost = self.state(key).map(|state| state.lost);
        self.change_step(
            key,
            attempt,
            to,
            StepPatch {
                lost,
                ..failure_patch(Some(error))
            },
        );
        self.change(Change::Bury(DeadLetter {
            key,
            step_name: name.to_string(),
            attempts: attempt,
            error_class: error.class,
            error: error.to_string(),
        }));
        self.failures.count += 1;
        if self.failures.first.is_none() {
            let item = key.item.map(|item| format!("[{item}]")).unwrap_or_default();
            self.failures.first = Some((
                format!("step \"{name}\"{item} failed: {error}"),
                error.causes(),
            ));
        }
        self.keep_fact(key, to, &Value::Null, &[], 0);
        self.settled(key, to, None);
    }

    /// A step that can't even be started: its templates don't render.
    pub(super) fn fail_unstarted(&mut self, key: StepKey, error: &StepError) {
        let attempt = self.state(key).map_or(0, |state| state.attempt);
        self.bury(key, attempt, StepStatus::Failed, error);
    }

    fn seed(&self) -> u64 {
        // The low half of a UUIDv7 is random (RFC 9562, 5.7).
        self.job.0.as_u64_pair().1 ^ self.lease.fence.0
    }
}

fn failure_patch(error: Option<&StepError>) -> StepPatch {
    StepPatch {
        error_class: error.map(|error| error.class),
        error: error.map(ToString::to_string),
        error_stack: error.and_then(StepError::causes),
        ..StepPatch::default()
    }
}
