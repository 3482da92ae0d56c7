//! A connector that does as it is told and says what it did, and what it runs in.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etl_core::contract::{Connector, NoCredential, Progress, StepContext};
use etl_core::memory::MemoryStore;
use etl_core::model::*;
use etl_core::sdk::{Etl, EtlBuilder};
use etl_core::testing::TokioClock;
use etl_core::testing::faults::Flaky;
use serde_json::{Map, Value, json};

/// Does what its configuration says, and keeps a record of who ran.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probe {
    pub(crate) ran: Arc<Mutex<Vec<String>>>,
    pub(crate) at_once: Arc<AtomicU32>,
    pub(crate) most_at_once: Arc<AtomicU32>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProbeConfig {
    #[serde(default)]
    seconds: u64,
    #[serde(default)]
    panics: bool,
    #[serde(default)]
    deaf: bool,
    #[serde(default)]
    lines: u32,
    /// The length of one more line.
    #[serde(default)]
    long_line: usize,
    /// What it says without an end, until it is told to stop.
    #[serde(default)]
    floods: Option<Flood>,
    #[serde(default)]
    fails: Option<String>,
    #[serde(default)]
    value: Value,
}

#[derive(Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Flood {
    Lines,
    Progress,
    Checkpoints,
}

impl Flood {
    async fn pour(self, ctx: &StepContext) {
        let mut count = 0_u64;
        while !ctx.cancelled().is_cancelled() {
            count += 1;
            match self {
                Self::Lines => ctx.info("line").await,
                Self::Checkpoints => ctx.checkpoint(json!(count)).await,
                Self::Progress => {
                    ctx.progress(Progress {
                        rows_processed: count,
                        ..Progress::default()
                    });
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// Counts an attempt while it is there, also if its future is dropped.
pub(crate) struct AtOnce(Arc<AtomicU32>);

impl Drop for AtOnce {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connector for Probe {
    const NAME: &'static str = "probe";
    type Config = ProbeConfig;
    type Credential = NoCredential;

    async fn run(
        &self,
        config: ProbeConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        let task = ctx.task();
        let item = task
            .key
            .step
            .item
            .map(|item| format!("[{item}]"))
            .unwrap_or_default();
        self.ran
            .lock()
            .unwrap()
            .push(format!("{}{item}", task.step_name));
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let _at_once = AtOnce(self.at_once.clone());
        for line in 0..config.lines {
            ctx.info(format!("line {line}")).await;
        }
        if config.long_line > 0 {
            ctx.info("é".repeat(config.long_line / 2)).await;
        }
        assert!(!config.panics, "as told");
        if let Some(flood) = config.floods {
            flood.pour(&ctx).await;
            return Err(StepError::transient("stopped"));
        }
        let sleep = tokio::time::sleep(Duration::from_secs(config.seconds));
        if config.deaf {
            sleep.await;
        } else {
            tokio::select! {
                () = sleep => {}
                () = ctx.cancelled().cancelled() => return Err(StepError::transient("stopped")),
            }
        }
        match config.fails {
            Some(message) => Err(StepError::permanent(message)),
            None => Ok(Report::rows(1).with_output(config.value)),
        }
    }
}

impl Probe {
    pub(crate) fn ran(&self) -> Vec<String> {
        self.ran.lock().unwrap().clone()
    }

    /// How long it takes until so many attempts run at once.
    pub(crate) async fn until_at_once(&self, attempts: u32) -> Duration {
        let from = tokio::time::Instant::now();
        while self.at_once.load(Ordering::SeqCst) != attempts {
            assert!(
                from.elapsed() < Duration::from_mins(2),
                "{attempts} attempts"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        from.elapsed()
    }
}

pub(crate) fn long(seconds: u64) -> Pipeline {
    pipeline("p", vec![step("long", &[], json!({ "seconds": seconds }))])
}

/// A store that can be away, over one in memory.
pub(crate) fn a_store(clock: &Arc<TokioClock>) -> Arc<Flaky> {
    Arc::new(Flaky::by_plan(
        Arc::new(MemoryStore::new(clock.clone())),
        [],
    ))
}

pub(crate) fn step(name: &str, dependencies: &[&str], config: Value) -> Step {
    let mut step = Step::new(name, "probe");
    step.dependencies = dependencies.iter().map(ToString::to_string).collect();
    step.config = config;
    step
}

pub(crate) fn pipeline(name: &str, steps: Vec<Step>) -> Pipeline {
    Pipeline {
        steps,
        ..Pipeline::new(name)
    }
}

pub(crate) fn builder(probe: &Probe, clock: &Arc<TokioClock>) -> EtlBuilder {
    Etl::builder().connector(probe.clone()).clock(clock.clone())
}

pub(crate) fn setup() -> (Probe, Arc<TokioClock>, Etl) {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let etl = builder(&probe, &clock).build();
    (probe, clock, etl)
}

pub(crate) fn none() -> Map<String, Value> {
    Map::new()
}
