//! The engine's overhead for a step: planning, the machine alone, and the whole runtime in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etl_benches::{Form, Noop, pipeline};
use etl_core::engine::{Effect, Input, JobMachine};
use etl_core::model::{
    Fence, JobId, JobSnapshot, LeaseRef, Pipeline, PipelineId, PipelineRef, Report, StepEvent,
    Timestamp, TriggerType, Verdict,
};
use etl_core::plan::{self, Plan};
use etl_core::registry::Registry;
use etl_core::sdk::Etl;

fn per_step(took: Duration, steps: usize) -> f64 {
    took.as_secs_f64() * 1e6 / steps as f64
}

/// Drives the machine with instant answers.
fn drive(plan: &Arc<Plan>) -> usize {
    let id = JobId(uuid());
    let pipeline = PipelineRef {
        id: PipelineId(uuid()),
        namespace: "default".into(),
        name: "bench".into(),
        version: 1,
    };
    let snapshot = JobSnapshot {
        id,
        pipeline,
        document: Arc::clone(&plan.pipeline),
        trigger_type: TriggerType::Manual,
        scheduled_for: None,
        parameters: Arc::new(serde_json::json!({})),
        context: serde_json::Map::new(),
        retry_attempt: 0,
        started_at: Timestamp::default(),
        cancel_requested: None,
        steps: Vec::new(),
    };
    let mut machine = JobMachine::open(
        Arc::clone(plan),
        snapshot,
        LeaseRef {
            job: id,
            fence: Fence(1),
        },
    );
    let mut inputs = std::collections::VecDeque::from([Input::Opened, Input::Slots(8)]);
    let mut started = 0;
    let now = Timestamp::default();
    while let Some(input) = inputs.pop_front() {
        for effect in machine.handle(input, now) {
            match effect {
                Effect::Commit(commit) => {
                    inputs.push_back(Input::Committed {
                        seq: commit.seq,
                        verdict: Verdict::Applied,
                    });
                }
                Effect::Start(task) => {
                    started += 1;
                    let event = StepEvent::Result(Ok(Report::default()));
                    inputs.push_back(Input::Step {
                        key: task.key,
                        event,
                    });
                }
                Effect::Close(_) => return started,
                _ => {}
            }
        }
        let wanted = machine.wanted();
        if wanted > 0 && inputs.is_empty() {
            inputs.push_back(Input::Slots(wanted.min(8)));
        }
    }
    started
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}

fn main() -> anyhow::Result<()> {
    let registry = Registry::new().with(Noop);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    println!("form      steps   validate    compile    machine    runtime   (µs a step)");
    for form in [Form::Wide, Form::Deep, Form::Random] {
        for steps in [1_000, 10_000, 100_000] {
            let document: Arc<Pipeline> = Arc::new(pipeline(form, steps));
            let began = Instant::now();
            let faults = plan::validate(&document, &registry);
            let validated = began.elapsed();
            anyhow::ensure!(faults.is_empty(), "{faults:?}");
            let began = Instant::now();
            let plan = Plan::compile(Arc::clone(&document), &registry);
            let plan = Arc::new(plan.map_err(|faults| anyhow::anyhow!("{faults:?}"))?);
            let compiled = began.elapsed();
            let began = Instant::now();
            anyhow::ensure!(drive(&plan) == steps);
            let driven = began.elapsed();
            let ran = runtime.block_on(async {
                let etl = Etl::builder().connector(Noop).max_steps(64).build();
                let stored = etl.put(&document).await?;
                let trigger = etl_core::runtime::Trigger::new(
                    TriggerType::Api,
                    etl_core::model::By::system(),
                    serde_json::Map::new(),
                );
                let began = Instant::now();
                let outcome = etl.submit(&stored, trigger).await?.wait().await?;
                let took = began.elapsed();
                anyhow::ensure!(outcome.is_success());
                etl.shutdown().await;
                Ok(took)
            })?;
            let figures = [validated, compiled, driven, ran].map(|took| per_step(took, steps));
            println!(
                "{:8} {steps:6} {:10.2} {:10.2} {:10.2} {:10.2}",
                format!("{form:?}"),
                figures[0],
                figures[1],
                figures[2],
                figures[3]
            );
        }
    }
    Ok(())
}
