//! What a template sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use serde::Deserialize;

use crate::model::{Artifact, JobId, StepStatus, Timestamp, TriggerType};

/// A value that templates see. Made once and cheap to clone, so that an output of 256 KiB is converted once and not at
/// each of ten thousand renderings.
#[derive(Debug, Clone)]
pub struct Fact(pub(super) Value);

impl Fact {
    /// Any JSON.
    pub fn from_json(value: &serde_json::Value) -> Self {
        Self(converted(value))
    }

    /// A settled step: `status`, `output`, `artifacts` (URIs by name), `rows_processed`.
    pub fn step(
        status: StepStatus,
        output: &serde_json::Value,
        artifacts: &[Artifact],
        rows_processed: u64,
    ) -> Self {
        let uris = artifacts
            .iter()
            .map(|artifact| (artifact.name.as_str(), Value::from(artifact.uri.as_str())));
        let artifacts = Value::from_pairs(uris);
        let parts = [
            ("status", Value::from(status.as_str())),
            ("output", converted(output)),
            ("artifacts", artifacts),
            ("rows_processed", Value::from(rows_processed)),
        ];
        Self(Value::from_pairs(parts))
    }

    /// The job itself: `id`, `trigger_type`, `scheduled_for`, `retry_attempt`.
    pub fn job(
        id: JobId,
        trigger: TriggerType,
        scheduled_for: Option<Timestamp>,
        retry_attempt: u32,
    ) -> Self {
        let parts = [
            ("id", Value::from(id.to_string())),
            ("trigger_type", Value::from(trigger.as_str())),
            (
                "scheduled_for",
                scheduled_for.map_or(Value::from(()), |at| Value::from(at.to_string())),
            ),
            ("retry_attempt", Value::from(retry_attempt)),
        ];
        Self(Value::from_pairs(parts))
    }
}

fn converted(value: &serde_json::Value) -> Value {
    // Any JSON is a template value; should that ever fail, the template says that it is undefined.
    Value::deserialize(value).unwrap_or(Value::UNDEFINED)
}

/// Everything that a template sees; what is not given is undefined in it.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// `params`.
    pub params: Option<Fact>,
    /// `job`.
    pub job: Option<Fact>,
    /// `steps`, by name.
    pub steps: BTreeMap<Arc<str>, Fact>,
    /// `item` and `index`.
    pub item: Option<(Fact, u32)>,
}

impl Scope {
    pub(super) fn to_value(&self) -> Value {
        let steps = Value::from_pairs(
            self.steps
                .iter()
                .map(|(name, fact)| (&**name, fact.0.clone())),
        );
        let mut roots = vec![("steps", steps)];
        roots.extend(self.params.as_ref().map(|fact| ("params", fact.0.clone())));
        roots.extend(self.job.as_ref().map(|fact| ("job", fact.0.clone())));
        if let Some((item, index)) = &self.item {
            roots.push(("item", item.0.clone()));
            roots.push(("index", Value::from(*index)));
        }
        Value::from_pairs(roots)
    }
}
