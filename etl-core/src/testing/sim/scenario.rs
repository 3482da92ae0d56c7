//! What a seed gives before anything happens: pipelines, who triggers them when, and what goes wrong.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::rng::Rng;
use crate::model::{
    Concurrency, ExecutorKind, ForEach, Hook, Hooks, OnLimit, Pipeline, RetryPolicy, Step,
    TriggerRule, When,
};

/// A run before it begins.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) pipelines: Vec<Arc<Pipeline>>,
    /// Pipelines that hooks start.
    pub(super) followers: Vec<Arc<Pipeline>>,
    pub(super) orders: Vec<Order>,
    pub(super) hosts: Vec<Host>,
    pub(super) weather: Weather,
    /// How long things go wrong.
    pub(super) storm: Duration,
    pub(super) blows: Vec<Blow>,
    pub(super) outages: Vec<Outage>,
}

/// A job to come.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) at: Duration,
    /// Which pipeline.
    pub(super) of: usize,
    /// Whether it has an idempotency key.
    pub(super) keyed: bool,
    /// How long after its acceptance its end is asked for.
    pub(super) cancel_after: Option<Duration>,
}

/// A machine that a worker process runs on.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) max_jobs: usize,
    pub(super) max_steps: usize,
    /// How many milliseconds its clock is ahead of the store's.
    pub(super) skew_ms: i64,
}

/// How often things go wrong, in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    /// A call is refused.
    pub(super) refused: u64,
    /// A call's outcome is unknown: half of them were done.
    pub(super) unknown: u64,
    /// A call takes seconds.
    pub(super) slow: u64,
    pub(super) hint_lost: u64,
    pub(super) hint_doubled: u64,
    pub(super) hint_delayed: u64,
    /// The queue refuses to take or to give.
    pub(super) queue_away: u64,
    /// An attempt kills its worker.
    pub(super) kills: u64,
}

/// Something that happens to a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blow {
    pub(super) at: Duration,
    /// Which host's process.
    pub(super) host: usize,
    pub(super) kind: BlowKind,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum BlowKind {
    /// It loses everything; another starts in its place after so long.
    Crash(Duration),
    /// It stands still for so long and knows nothing of it.
    Freeze(Duration),
    /// It is told to stop: after some patience it hands back what it has; another starts when it is gone, after so long.
    Drain {
        patience: Duration,
        back_after: Duration,
    },
}

/// A time in which the store can't be reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    pub(super) from: Duration,
    pub(super) to: Duration,
    /// From this host only, or from everywhere.
    pub(super) host: Option<usize>,
}

impl Scenario {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let pipelines: Vec<_> = (0..rng.between(1, 3))
            .map(|at| Arc::new(pipeline(rng, &format!("p{at}"))))
            .collect();
        let mut orders: Vec<Order> = (0..rng.between(2, 8))
            .map(|_| Order {
                at: rng.millis(0, 30_000),
                of: rng.below(pipelines.len() as u64) as usize,
                keyed: rng.chance(700),
                cancel_after: rng.chance(250).then(|| rng.millis(0, 40_000)),
            })
            .collect();
        orders.sort_by_key(|order| order.at);
        let far_off = rng.chance(100);
        let hosts: Vec<Host> = (0..rng.between(1, 4))
            .map(|_| Host {
                max_jobs: rng.between(1, 4) as usize,
                max_steps: rng.between(1, 6) as usize,
                skew_ms: match (far_off, rng.below(3)) {
                    (true, 0) => rng.between(0, 240_000) as i64 - 120_000,
                    (false, 0) => rng.between(0, 4_000) as i64 - 2_000,
                    _ => 0,
                },
            })
            .collect();
        let calm = rng.chance(100);
        let storm = rng.millis(20_000, 90_000);
        let mut scenario = Self {
            weather: if calm {
                Weather::default()
            } else {
                weather(rng)
            },
            storm,
            blows: Vec::new(),
            outages: Vec::new(),
            followers: ["after", "alarm"]
                .map(|name| Arc::new(follower(rng, name)))
                .into(),
            pipelines,
            orders,
            hosts,
        };
        if !calm {
            scenario.misfortunes(rng);
        }
        scenario
    }

    fn misfortunes(&mut self, rng: &mut Rng) {
        let (storm, hosts) = (self.storm.as_millis() as u64, self.hosts.len() as u64);
        self.blows = (0..rng.between(0, 8))
            .map(|_| Blow {
                at: rng.millis(0, storm),
                host: rng.below(hosts) as usize,
                kind: match rng.below(6) {
                    0 | 1 => BlowKind::Crash(rng.millis(100, 15_000)),
                    // Often longer than a lease and its sweep: the job has another owner when the process comes back.
                    2..=4 => BlowKind::Freeze(rng.millis(1_000, 60_000)),
                    _ => BlowKind::Drain {
                        patience: rng.millis(0, 3_000),
                        back_after: rng.millis(100, 15_000),
                    },
                },
            })
            .collect();
        self.blows.sort_by_key(|blow| blow.at);
        self.outages = (0..rng.below(3))
            .map(|_| {
                let from = rng.millis(0, storm);
                Outage {
                    from,
                    to: from + rng.millis(500, 40_000),
                    host: rng.chance(600).then(|| rng.below(hosts) as usize),
                }
            })
            .collect();
    }
}

fn weather(rng: &mut Rng) -> Weather {
    let some = |rng: &mut Rng, most| {
        if rng.chance(500) {
            rng.between(1, most)
        } else {
            0
        }
    };
    Weather {
        refused: some(rng, 150),
        unknown: some(rng, 150),
        slow: some(rng, 60),
        hint_lost: some(rng, 500),
        hint_doubled: some(rng, 300),
        hint_delayed: some(rng, 300),
        queue_away: some(rng, 200),
        kills: some(rng, 30),
    }
}

fn pipeline(rng: &mut Rng, name: &str) -> Pipeline {
    let mut pipeline = Pipeline::new(name);
    let count = rng.between(1, 7) as usize;
    for at in 0..count {
        let step = step(rng, at, &pipeline.steps);
        pipeline.steps.push(step);
    }
    if rng.chance(300) {
        pipeline.concurrency = Some(Concurrency {
            limit: rng.between(1, 2) as u32,
            on_limit: OnLimit::Queue,
        });
    }
    pipeline.parameters = json!({
        "type": "object",
        "properties": { "go": { "type": "boolean" }, "items": { "type": "array" } },
    })
    .as_object()
    .cloned();
    pipeline.max_parallel_steps = rng.chance(300).then(|| rng.between(1, 3) as u32);
    pipeline.timeout_seconds = rng.chance(150).then(|| rng.between(10, 90));
    pipeline.priority = rng.between(3, 6) as u8;
    pipeline.hooks = Hooks {
        on_success: (0..rng.below(3)).map(|at| hook(at, "after")).collect(),
        on_failure: (0..rng.below(3)).map(|at| hook(at, "alarm")).collect(),
    };
    pipeline
}

/// A pipeline that starts when another one's job has ended. Its parameters have defaults, because hooks give none.
fn follower(rng: &mut Rng, name: &str) -> Pipeline {
    let mut pipeline = Pipeline::new(name);
    for at in 0..rng.between(1, 2) as usize {
        let step = step(rng, at, &pipeline.steps);
        pipeline.steps.push(step);
    }
    pipeline.parameters = json!({
        "type": "object",
        "properties": {
            "go": { "type": "boolean", "default": true },
            "items": { "type": "array", "default": [1] },
        },
    })
    .as_object()
    .cloned();
    pipeline
}

fn hook(at: u64, name: &str) -> Hook {
    let triggers = at == 0;
    Hook {
        trigger_pipeline: triggers.then(|| name.into()),
        parameters: serde_json::Map::new(),
        webhook: (!triggers).then(|| "https://hooks.example/".into()),
        credential: None,
    }
}

fn step(rng: &mut Rng, at: usize, before: &[Step]) -> Step {
    let mut step = Step::new(format!("s{at}"), super::executor::CONNECTOR);
    let most = before.len().min(3) as u64;
    if most > 0 && rng.chance(750) {
        for _ in 0..rng.between(1, most) {
            let on = &before[rng.below(before.len() as u64) as usize].name;
            if !step.dependencies.contains(on) {
                step.dependencies.push(on.clone());
            }
        }
    }
    if rng.chance(400) {
        step.trigger_rule = rng.pick(TriggerRule::ALL);
    }
    step.when = match rng.below(20) {
        0 => Some(When::Literal(false)),
        1 => Some(When::Template("{{ params.go }}".into())),
        _ => None,
    };
    step.for_each = match rng.below(12) {
        0 => Some(ForEach::Items(
            (0..rng.below(4)).map(|item| json!(item)).collect(),
        )),
        1 => Some(ForEach::Template("{{ params.items }}".into())),
        _ => None,
    };
    step.retry_count = rng.below(4) as u32;
    step.retry = RetryPolicy {
        base_delay_seconds: rng.pick(&[0.1, 0.5, 2.0]),
        max_delay_seconds: 6.0,
        jitter: rng.chance(500),
    };
    step.timeout_seconds = rng.between(3, 30);
    if rng.chance(300) {
        step.executor = ExecutorKind::Docker;
    }
    step.config = config(rng, &step, before);
    step
}

/// What the step is told: that its effect must not come twice, that it kills its worker, what it reads.
fn config(rng: &mut Rng, step: &Step, before: &[Step]) -> serde_json::Value {
    match rng.below(20) {
        0 | 1 => json!({ "once": true }),
        2 if step.executor == ExecutorKind::InProcess && rng.chance(500) => {
            json!({ "kills": true })
        }
        3..=9 if step.trigger_rule == TriggerRule::AllSuccess => {
            let read = step.dependencies.iter().find(|on| {
                before
                    .iter()
                    .any(|other| other.name == **on && other.for_each.is_none())
            });
            read.map_or_else(
                || json!({}),
                |on| json!({ "from": format!("{{{{ steps.{on}.output }}}}") }),
            )
        }
        _ => json!({}),
    }
}
