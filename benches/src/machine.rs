//! The engine's machine with nothing around it: whatever it asks for is granted and answered at once.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Result, bail};
use etl_core::engine::{Effect, Input, JobMachine};
use etl_core::model::{
    Fence, JobId, JobSnapshot, JobStatus, LeaseRef, Pipeline, PipelineId, PipelineRef, Report,
    StepEvent, Timestamp, TriggerType, Verdict,
};
use etl_core::plan::Plan;
use etl_core::registry::Registry;
use serde_json::Map;
use uuid::Uuid;

/// How many steps run at once.
const SLOTS: usize = 8;

/// The plan of a pipeline.
///
/// # Errors
/// If the pipeline is not valid.
pub fn compile(document: &Arc<Pipeline>, registry: &Registry) -> Result<Arc<Plan>> {
    match Plan::compile(Arc::clone(document), registry) {
        Ok(plan) => Ok(Arc::new(plan)),
        Err(faults) => bail!("{faults:?}"),
    }
}

/// Drives a job of this plan from its opening to its end; answers how many attempts were started.
///
/// # Errors
/// If the job does not end in success.
pub fn drive(plan: &Arc<Plan>) -> Result<usize> {
    let now = Timestamp::default();
    let (mut machine, mut inputs) = (open(plan), VecDeque::from([Input::Opened]));
    let (mut started, mut slots) = (0, 0);
    while let Some(input) = inputs.pop_front() {
        for effect in machine.handle(input, now) {
            match effect {
                Effect::Commit(commit) => inputs.push_back(Input::Committed {
                    seq: commit.seq,
                    verdict: Verdict::Applied,
                }),
                Effect::Start(task) => {
                    started += 1;
                    inputs.push_back(Input::Step {
                        key: task.key,
                        event: StepEvent::Result(Ok(Report::default())),
                    });
                }
                Effect::Release(released) => slots -= released,
                Effect::Close(JobStatus::Success) => return Ok(started),
                Effect::Close(status) => bail!("the job ended as {status}"),
                Effect::Adopt(_) | Effect::Stop(_) | Effect::Wake(_) => {}
            }
        }
        let more = machine.wanted().min(SLOTS - slots);
        if more > 0 {
            slots += more;
            inputs.push_back(Input::Slots(more));
        }
    }
    bail!("the machine stopped before the job's end")
}

fn open(plan: &Arc<Plan>) -> JobMachine {
    let id = JobId(Uuid::now_v7());
    let pipeline = PipelineRef {
        id: PipelineId(Uuid::now_v7()),
        namespace: "default".into(),
        name: plan.pipeline.name.as_str().into(),
        version: 1,
    };
    let snapshot = JobSnapshot {
        id,
        pipeline,
        document: Arc::clone(&plan.pipeline),
        trigger_type: TriggerType::Manual,
        scheduled_for: None,
        parameters: Arc::new(serde_json::json!({})),
        context: Map::new(),
        retry_attempt: 0,
        started_at: Timestamp::default(),
        cancel_requested: None,
        steps: Vec::new(),
    };
    let lease = LeaseRef {
        job: id,
        fence: Fence(1),
    };
    JobMachine::open(Arc::clone(plan), snapshot, lease)
}

#[cfg(test)]
mod tests {
    use etl_core::registry::Registry;

    use super::*;
    use crate::{Form, Noop, pipeline};

    #[test]
    fn every_step_of_every_form_is_started_once() {
        let registry = Registry::new().with(Noop);
        for form in Form::ALL {
            let plan = compile(&Arc::new(pipeline(form, 100)), &registry).unwrap();
            assert_eq!(drive(&plan).unwrap(), 100, "{form:?}");
        }
    }
}
