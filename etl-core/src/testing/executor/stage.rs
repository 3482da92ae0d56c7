//! One executor on stage: the few words in which the cases are told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use super::probe::Counts;
use super::{ExecutorFacts, ExecutorFixture, Probe, ProbeConfig};
use crate::artifact::ArtifactStorage;
use crate::contract::{Executor, Run};
use crate::model::{
    AttemptKey, ExecutorKind, Fence, JobId, Report, StepError, StepEvent, StepKey, StepTask,
    Timestamp,
};
use crate::registry::Registry;

/// How long a case waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Stage {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) storage: ArtifactStorage,
    pub(super) facts: ExecutorFacts,
    probe: Probe,
    job: JobId,
}

impl Stage {
    pub(super) async fn on(fixture: &dyn ExecutorFixture) -> Self {
        let probe = Probe::default();
        let registry = Registry::new().with(probe.clone());
        Self {
            executor: fixture.fresh(registry).await,
            storage: fixture.artifacts(),
            facts: fixture.facts(),
            probe,
            job: JobId(Uuid::now_v7()),
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        self.probe.counts()
    }

    /// Waits until so many attempts have ended in this process.
    pub(super) async fn until_ended(&self, attempts: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.counts().ended.load(Ordering::SeqCst) < attempts {
            assert!(Instant::now() < deadline, "{attempts} attempts did not end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The task of the first attempt of this step.
    pub(super) fn task(&self, step: u32, config: &ProbeConfig) -> StepTask {
        StepTask {
            key: AttemptKey {
                job: self.job,
                step: StepKey::step(step),
                attempt: 1,
            },
            fence: Fence(1),
            pipeline: "p".into(),
            step_name: "s".into(),
            connector_type: "probe".into(),
            config: Arc::new(serde_json::to_value(config).unwrap()),
            credential: None,
            executor: ExecutorKind::InProcess,
            resources: None,
            checkpoint: None,
            // For an executor that watches it: longer than any case.
            deadline: Timestamp::from(chrono::Utc::now()) + Duration::from_hours(1),
            base_dir: None,
        }
    }

    pub(super) async fn start(&self, task: StepTask, credential: Option<Value>) -> Box<dyn Run> {
        let area = self.storage.area(&task.key);
        let run = self.executor.start(task, credential, area).await;
        run.unwrap()
    }

    /// Runs the first attempt of the first step to its end: what it said, and how it ended.
    pub(super) async fn play(&self, config: &ProbeConfig) -> Played {
        let mut run = self.start(self.task(0, config), None).await;
        hear(&mut run).await
    }
}

/// What an attempt said, and how it ended.
pub(super) type Played = (Vec<StepEvent>, Result<Report, StepError>);

pub(super) async fn next(run: &mut Box<dyn Run>) -> Option<StepEvent> {
    let event = timeout(PATIENCE, run.next()).await;
    event.expect("the attempt is silent")
}

/// Hears an attempt to its end, and asserts that the result is the last thing.
pub(super) async fn hear(run: &mut Box<dyn Run>) -> Played {
    let mut said = Vec::new();
    loop {
        match next(run).await {
            Some(StepEvent::Result(result)) => {
                for _ in 0..3 {
                    let more = next(run).await;
                    assert!(more.is_none(), "{more:?} after the result");
                }
                return (said, result);
            }
            Some(event) => said.push(event),
            None => panic!("the attempt ended without a result"),
        }
    }
}

/// Waits until the attempt has said its first line, so that it is known to run.
pub(super) async fn until_it_runs(run: &mut Box<dyn Run>) {
    let first = next(run).await;
    assert!(matches!(first, Some(StepEvent::Log { .. })), "{first:?}");
}
