//! The engine's overhead for a step: planning, the machine alone, and the whole runtime in memory, at three sizes, so that
//! it is seen to be linear. Arguments choose forms of graphs: `engine deep`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etl_benches::{Form, Goal, Noop, Report, compile, drive, pipeline};
use etl_core::model::{By, Pipeline, TriggerType};
use etl_core::plan;
use etl_core::registry::Registry;
use etl_core::runtime::Trigger;
use etl_core::sdk::Etl;
use serde_json::Map;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 3] = [10_000, 30_000, 100_000];
const ROUNDS: usize = 5;

/// How many steps the runtime runs at once.
const SLOTS: usize = 64;

/// What a step may cost, in µs.
const GOAL: Goal = Goal::AtMost(10.0);

/// What is timed, in the order of a job's life.
const PHASES: [&str; 4] = ["validate", "compile", "machine", "runtime in memory"];

fn main() -> Result<()> {
    let registry = Registry::new().with(Noop);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut report = Report::new("engine");
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted =
        |form: &Form| wanted.is_empty() || wanted.iter().any(|name| name == form.name());
    for form in Form::ALL.into_iter().filter(is_wanted) {
        for steps in SIZES {
            let document = Arc::new(pipeline(form, steps));
            let mut runs = [const { Vec::new() }; PHASES.len()];
            for _ in 0..ROUNDS {
                let round = measure(&document, &registry, &runtime)?;
                for (runs, took) in runs.iter_mut().zip(round) {
                    runs.push(took.as_secs_f64() * 1e6 / steps as f64);
                }
            }
            let is_claimed = steps == SIZES[SIZES.len() - 1];
            for (phase, runs) in PHASES.into_iter().zip(runs) {
                let goal = (is_claimed && matches!(phase, "machine" | "runtime in memory"))
                    .then_some(GOAL);
                report.add(name(form, steps, phase), "µs/step", runs, goal);
            }
        }
        for phase in PHASES {
            let at = |size: usize| report.value(&name(form, size, phase));
            if let (Some(least), Some(most)) = (at(SIZES[0]), at(SIZES[SIZES.len() - 1])) {
                let name = format!(
                    "{}: {phase}, a step of 100,000 to one of 10,000",
                    form.name()
                );
                report.add(name, "times", vec![most / least], None);
            }
        }
    }
    report.keep()?;
    Ok(())
}

fn name(form: Form, steps: usize, phase: &str) -> String {
    format!("{} {steps}: {phase}", form.name())
}

fn measure(
    document: &Arc<Pipeline>,
    registry: &Registry,
    runtime: &Runtime,
) -> Result<[Duration; PHASES.len()]> {
    let began = Instant::now();
    let faults = plan::validate(document, registry);
    let validated = began.elapsed();
    ensure!(faults.is_empty(), "{faults:?}");

    let began = Instant::now();
    let plan = compile(document, registry)?;
    let compiled = began.elapsed();

    let began = Instant::now();
    ensure!(drive(&plan)? == document.steps.len());
    let driven = began.elapsed();

    let ran = runtime.block_on(run(document))?;
    Ok([validated, compiled, driven, ran])
}

/// One job through every service of the runtime, with the store in memory: from its submission to its end.
async fn run(document: &Arc<Pipeline>) -> Result<Duration> {
    let etl = Etl::builder().connector(Noop).max_steps(SLOTS).build();
    let stored = etl.put(document).await?;
    let trigger = Trigger::new(TriggerType::Api, By::system(), Map::new());
    let began = Instant::now();
    let outcome = etl.submit(&stored, trigger).await?.wait().await?;
    let took = began.elapsed();
    ensure!(outcome.is_success() && outcome.steps.len() == document.steps.len());
    etl.shutdown().await;
    Ok(took)
}
