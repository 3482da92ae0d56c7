//! Fan-out: a step that runs once for each item of a list.

use serde_json::Value;

use super::attempt::kind_of;
use super::machine::{JobMachine, StepState};
use crate::model::{
    Artifact, ArtifactName, Change, MAX_ITEMS, Report, StepError, StepKey, StepPatch, StepStatus,
    Timestamp,
};
use crate::template::Template;

/// A step that was replaced by one execution for each item.
#[derive(Debug)]
pub(super) struct FanOut {
    pub(super) items: Vec<Value>,
    pub(super) states: Vec<StepState>,
    /// Items not settled yet.
    pub(super) open: usize,
    pub(super) failed: bool,
    /// Outputs by item, kept only if some template reads them.
    pub(super) outputs: Vec<Value>,
    pub(super) artifacts: Vec<Artifact>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl FanOut {
    pub(super) fn new(items: Vec<Value>, is_read: bool) -> Self {
        Self {
            states: vec![StepState::PENDING; items.len()],
            open: items.len(),
            failed: false,
            outputs: if is_read {
                vec![Value::Null; items.len()]
            } else {
                Vec::new()
            },
            artifacts: Vec::new(),
            rows: 0,
            bytes: 0,
            items,
        }
    }
}

impl JobMachine {
    pub(super) fn expand(&mut self, step: u32, list: &Template, _now: Timestamp) {
        let items = match list.render(&self.scope(step, None)) {
            Ok(value) => match std::sync::Arc::unwrap_or_clone(value) {
                Value::Array(items) => Ok(items),
                other => Err(format!("`for_each` gave {}, not a list", kind_of(&other))),
            },
            Err(fault) => Err(format!("`for_each`: {fault}")),
        };
        match items {
            Ok(items) if items.len() > MAX_ITEMS => {
                let fault = format!(
                    "`for_each` gave {} items; at most {MAX_ITEMS} are allowed",
                    items.len()
                );
                self.fail_unstarted(StepKey::step(step), &StepError::permanent(fault));
            }
            Ok(items) => {
                let state = &mut self.steps[step as usize];
                state.status = StepStatus::Running;
                state.attempt = 1;
                self.change(Change::Expand {
                    step,
                    items: items.clone(),
                });
                self.ready
                    .extend((0..items.len() as u32).map(|item| StepKey::item(step, item)));
                let fan_out = FanOut::new(items, self.plan.step(step).is_read);
                self.fan_outs.insert(step, fan_out);
                self.gather(step);
            }
            Err(fault) => self.fail_unstarted(StepKey::step(step), &StepError::permanent(fault)),
        }
    }

    pub(super) fn keep_item(
        &mut self,
        step: u32,
        item: u32,
        report: &Report,
        artifacts: &[Artifact],
    ) {
        let Some(fan_out) = self.fan_outs.get_mut(&step) else {
            return;
        };
        fan_out.rows = fan_out.rows.saturating_add(report.rows_processed);
        fan_out.bytes = fan_out.bytes.saturating_add(report.bytes_transferred);
        if let Some(output) = fan_out.outputs.get_mut(item as usize) {
            output.clone_from(&report.output);
            // Items choose their artifacts' names alike, so the step shows them by item.
            fan_out
                .artifacts
                .extend(artifacts.iter().filter_map(|artifact| {
                    let name = ArtifactName::new(format!("{item}/{}", artifact.name)).ok()?;
                    Some(Artifact {
                        name,
                        uri: artifact.uri.clone(),
                    })
                }));
        }
    }

    pub(super) fn item_settled(&mut self, step: u32, item: u32, status: StepStatus) {
        let Some(fan_out) = self.fan_outs.get_mut(&step) else {
            return;
        };
        fan_out.states[item as usize].status = status;
        fan_out.open -= 1;
        fan_out.failed |= matches!(status, StepStatus::Failed | StepStatus::Timeout);
        self.gather(step);
    }

    /// Settles the step once all its items are.
    pub(super) fn gather(&mut self, step: u32) {
        let Some(fan_out) = self.fan_outs.get_mut(&step) else {
            return;
        };
        if fan_out.open > 0 || self.steps[step as usize].status != StepStatus::Running {
            return;
        }
        let key = StepKey::step(step);
        let cancelled = fan_out
            .states
            .iter()
            .any(|state| state.status == StepStatus::Cancelled);
        let to = match (fan_out.failed, cancelled) {
            (true, _) => StepStatus::Failed,
            (false, true) => StepStatus::Cancelled,
            (false, false) => StepStatus::Success,
        };
        let (rows, bytes) = (fan_out.rows, fan_out.bytes);
        let outputs = Value::Array(std::mem::take(&mut fan_out.outputs));
        let artifacts = std::mem::take(&mut fan_out.artifacts);
        let failed = fan_out
            .states
            .iter()
            .filter(|state| state.status != StepStatus::Success)
            .count();
        let error = fan_out
            .failed
            .then(|| format!("{failed} of {} items did not succeed", fan_out.states.len()));
        self.keep_fact(key, to, &outputs, &artifacts, rows);
        let patch = StepPatch {
            rows_processed: Some(rows),
            bytes_transferred: Some(bytes),
            error,
            ..StepPatch::default()
        };
        self.change_step(key, 1, to, patch);
        self.settled(key, to, None);
    }
}
