//! The simulated executor: attempts that succeed, fail by class, hang, kill their worker, and with `executor: docker` outlive
//! it.

mod attempts;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::time::{Instant, sleep_until};

use super::bug::Bug;
use super::state::Sim;
use super::trace::{Line, Who};
use crate::artifact::ArtifactArea;
use crate::contract::{
    Cleared, Connector, Executor, ExecutorError, ExecutorErrorKind, NoCredential, Run, StepContext,
};
use crate::model::{
    AttemptKey, EffectClass, ErrorClass, ExecutorKind, Report, StepError, StepEvent, StepTask,
};
pub(super) use attempts::Attempts;
use attempts::{Act, Attempt, Ending, Place};

/// The `connector_type` of every simulated step.
pub(super) const CONNECTOR: &str = "sim";

/// What documents see of simulated steps; the executor does not call it.
pub(super) struct Work;

impl Connector for Work {
    const NAME: &'static str = CONNECTOR;
    type Config = BTreeMap<String, Value>;
    type Credential = NoCredential;

    fn effects(&self, config: &Self::Config) -> EffectClass {
        if config.contains_key("once") {
            EffectClass::AtMostOnce
        } else {
            EffectClass::Idempotent
        }
    }

    async fn run(
        &self,
        _: Self::Config,
        _: Option<NoCredential>,
        _: StepContext,
    ) -> Result<Report, StepError> {
        Err(StepError::permanent(
            "a simulated step runs in the simulated executor",
        ))
    }
}

/// The executor as one process sees it.
#[derive(Debug, Clone)]
pub(super) struct SimExecutor {
    sim: Arc<Sim>,
    process: u32,
}

impl SimExecutor {
    pub(super) fn new(sim: &Arc<Sim>, process: u32) -> Self {
        Self {
            sim: Arc::clone(sim),
            process,
        }
    }

    fn who(&self) -> Who {
        Who::Process(self.process)
    }

    fn begin(&self, task: &StepTask) -> Result<SimRun, ExecutorError> {
        let (key, now) = (task.key, Instant::now());
        let mut guard = self.sim.lock();
        let state = &mut *guard;
        if state.healthy_since.is_none() && state.rng.chance(15) {
            state.note(self.who(), Line::Fault("start", "the executor is away"));
            return Err(ExecutorError {
                kind: ExecutorErrorKind::Unavailable,
                message: "the place can't be reached".into(),
                source: None,
            });
        }
        let place = match task.executor {
            ExecutorKind::InProcess => Place::Inside,
            _ => Place::Outside,
        };
        let told = match place {
            Place::Inside => "in its worker",
            Place::Outside => "outside of its worker",
        };
        state.note(self.who(), Line::Start(key, told));
        let is_late = state.is_late(self.process);
        let weather = self.sim.weather(state);
        let is_healthy = state.healthy_since.is_some();
        let plan = attempts::plan(task, now, &mut state.rng, weather, is_healthy);
        let attempt = Attempt::new(self.process, place, task, is_late, plan);
        let host = state
            .processes
            .get(&self.process)
            .map_or(0, |process| process.host);
        let law = state
            .ledger
            .starts(task, is_late)
            .and_then(|()| Self::only_one(state, key))
            .and_then(|()| {
                let slots = self.sim.scenario.hosts[host].max_steps;
                state.attempts.begin(key, attempt, slots)
            });
        let is_broken = state.require(law);
        drop(guard);
        if is_broken {
            self.sim.alarm.notify_one();
        }
        Ok(self.attach(key, 1))
    }

    /// No other attempt of the step is alive, but for those of processes that stood still.
    fn only_one(state: &super::state::State, key: AttemptKey) -> Result<(), String> {
        let other = state.attempts.of_step(key).find(|(other, attempt)| {
            *other != key && !attempt.is_late && !state.is_late(attempt.process)
        });
        match other {
            Some((other, _)) => Err(format!(
                "I-13: step {} attempt {} starts while attempt {} is alive",
                key.step, key.attempt, other.attempt
            )),
            None => Ok(()),
        }
    }

    fn attach(&self, key: AttemptKey, attachment: u32) -> SimRun {
        SimRun {
            sim: Arc::clone(&self.sim),
            process: self.process,
            key,
            attachment,
            is_over: false,
        }
    }
}

#[async_trait]
impl Executor for SimExecutor {
    async fn start(
        &self,
        task: StepTask,
        _: Option<Value>,
        _: ArtifactArea,
    ) -> Result<Box<dyn Run>, ExecutorError> {
        Ok(Box::new(self.begin(&task)?))
    }

    async fn adopt(&self, key: &AttemptKey) -> Result<Option<Box<dyn Run>>, ExecutorError> {
        let mut state = self.sim.lock();
        let found = state
            .attempts
            .adopt(*key)
            .filter(|_| !self.sim.has(Bug::TakeoverStartsAgain));
        state.note(self.who(), Line::Adopt(*key, found.is_some()));
        drop(state);
        Ok(found.map(|attachment| -> Box<dyn Run> { Box::new(self.attach(*key, attachment)) }))
    }

    async fn clear(&self, _: &AttemptKey) -> Result<Cleared, ExecutorError> {
        Ok(Cleared::Unproven)
    }

    async fn settle(&self, _: &AttemptKey) -> Result<(), ExecutorError> {
        Ok(())
    }
}

/// What listens to an attempt.
#[derive(Debug)]
struct SimRun {
    sim: Arc<Sim>,
    process: u32,
    key: AttemptKey,
    /// Which one: the last counts.
    attachment: u32,
    /// It has given its result.
    is_over: bool,
}

impl SimRun {
    fn who(&self) -> Who {
        Who::Process(self.process)
    }

    /// Does what is due.
    fn act(&mut self, act: Act) -> Option<StepEvent> {
        let key = self.key;
        match act {
            Act::Checkpoint(number) => Some(StepEvent::Checkpoint(number.into())),
            Act::Effect => {
                let mut state = self.sim.lock();
                state.note(self.who(), Line::Effect(key));
                let law = state.attempts.has_effect(key);
                drop(state);
                self.sim.require(law);
                None
            }
            Act::Kill => {
                let mut state = self.sim.lock();
                let law = state.attempts.kills(key);
                state.killed.push(self.process);
                drop(state);
                self.sim.require(law);
                self.sim.alarm.notify_one();
                None
            }
            Act::End(ending) => {
                self.is_over = true;
                let mut state = self.sim.lock();
                state.note(self.who(), Line::Ends(key, ending == Ending::Well));
                state.attempts.ends(key);
                drop(state);
                Some(StepEvent::Result(result(key, ending)))
            }
        }
    }
}

fn result(key: AttemptKey, ending: Ending) -> Result<Report, StepError> {
    match ending {
        // Which attempt it was, so that whoever reads the outcome can be asked whose it is.
        Ending::Well => Ok(Report::rows(u64::from(key.attempt))
            .with_output(json!(format!("{} by {}", key.step, key.attempt)))),
        Ending::Badly(ErrorClass::Throttled) => Err(StepError::throttled(
            "too fast",
            Some(Duration::from_secs(2)),
        )),
        Ending::Badly(class) => Err(StepError::new(class, "no")),
    }
}

#[async_trait]
impl Run for SimRun {
    async fn next(&mut self) -> Option<StepEvent> {
        while !self.is_over {
            let next = self.sim.lock().attempts.next(self.key, self.attachment);
            let Some((at, changed)) = next else {
                // Another listens to it now, or it has killed its worker: nothing more is heard here.
                std::future::pending::<()>().await;
                return None;
            };
            let changed = changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            tokio::select! {
                biased;
                () = sleep_until(at) => {}
                () = changed => continue,
            }
            let act = self.sim.lock().attempts.take(self.key, self.attachment);
            if let Some(event) = act.and_then(|act| self.act(act)) {
                return Some(event);
            }
        }
        None
    }

    async fn cancel(&mut self, grace: Duration) {
        let mut guard = self.sim.lock();
        let state = &mut *guard;
        state.note(self.who(), Line::Stop(self.key));
        // Most stop at once; some are deaf and are ended when their time is over.
        let reaction = if state.rng.chance(100) {
            grace
        } else {
            state.rng.millis(0, 500)
        };
        let well = state.rng.chance(300);
        let at = Instant::now() + reaction.min(grace);
        let law = state.attempts.stop(self.key, self.attachment, at, well);
        drop(guard);
        self.sim.require(law);
    }
}

impl Drop for SimRun {
    fn drop(&mut self) {
        let mut state = self.sim.lock();
        if state.attempts.dropped(self.key) {
            state.note(self.who(), Line::Dropped(self.key));
        }
    }
}
