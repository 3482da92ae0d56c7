//! A store, an executor and a clock in a few lines, which panic when a law of the machine is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::contract::{Connector, NoCredential, StepContext};
use crate::engine::{Effect, Input, JobMachine};
use crate::model::*;
use crate::plan::Plan;
use crate::registry::Registry;

/// Does nothing, and with `once` in its configuration says that it must not happen twice.
pub(super) struct Noop;

impl Connector for Noop {
    const NAME: &'static str = "noop";
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
        Ok(Report::default())
    }
}

pub(super) fn step(name: &str, dependencies: &[&str]) -> Step {
    let mut step = Step::new(name, "noop");
    step.dependencies = dependencies.iter().map(ToString::to_string).collect();
    step.retry.jitter = false;
    step
}

pub(super) fn pipeline(steps: Vec<Step>) -> Pipeline {
    Pipeline {
        steps,
        ..Pipeline::new("test")
    }
}

/// What the attempt of a task comes to.
pub(super) type Script = Box<dyn Fn(&StepTask) -> Result<Report, StepError>>;

pub(super) struct World {
    pub(super) plan: Arc<Plan>,
    pub(super) machine: JobMachine,
    pub(super) now: Timestamp,
    pub(super) job: JobStatus,
    pub(super) job_error: Option<String>,
    pub(super) rows: BTreeMap<StepKey, StepSnapshot>,
    pub(super) letters: Vec<DeadLetter>,
    pub(super) hooks: Vec<HookRow>,
    pub(super) starts: Vec<AttemptKey>,
    /// Attempts under way, with whether they were told to stop.
    pub(super) running: BTreeMap<AttemptKey, (StepTask, bool)>,
    pub(super) commits: Vec<Commit>,
    pub(super) closed: Option<JobStatus>,
    in_flight: Option<Commit>,
    adopting: BTreeSet<AttemptKey>,
    wake: Option<Timestamp>,
    slots: usize,
    /// Attempts that run on from an earlier owner.
    outlived: usize,
    capacity: usize,
    fence: u64,
    seq: u64,
    params: Value,
    script: Script,
    cancel_requested: Option<String>,
}

const JOB: JobId = JobId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));

impl World {
    pub(super) fn new(pipeline: Pipeline, params: Value, script: Script) -> Self {
        let registry = Registry::new().with(Noop);
        let plan = Arc::new(Plan::compile(Arc::new(pipeline), &registry).unwrap());
        let rows = (0..plan.steps.len() as u32)
            .map(|at| (StepKey::step(at), blank(StepKey::step(at))))
            .collect();
        let now = Timestamp::from_seconds(1_700_000_000);
        let machine = JobMachine::open(
            Arc::clone(&plan),
            snapshot(&plan, &BTreeMap::new(), &params, now, None),
            lease(1),
        );
        let mut world = Self {
            plan,
            machine,
            now,
            job: JobStatus::Running,
            job_error: None,
            rows,
            letters: Vec::new(),
            hooks: Vec::new(),
            starts: Vec::new(),
            running: BTreeMap::new(),
            commits: Vec::new(),
            closed: None,
            in_flight: None,
            adopting: BTreeSet::new(),
            wake: None,
            slots: 0,
            outlived: 0,
            capacity: 4,
            fence: 1,
            seq: 0,
            params,
            script,
            cancel_requested: None,
        };
        world.input(Input::Opened);
        world
    }

    pub(super) fn with_capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    pub(super) fn key(&self, name: &str) -> StepKey {
        StepKey::step(self.plan.dag.index(name).unwrap())
    }

    pub(super) fn row(&self, name: &str) -> &StepSnapshot {
        &self.rows[&self.key(name)]
    }

    pub(super) fn status(&self, name: &str) -> StepStatus {
        self.row(name).status
    }

    /// Runs to the end, always doing the first thing that can be done.
    pub(super) fn run(&mut self) -> JobStatus {
        while self.closed.is_none() {
            let possible = self.possible();
            let first = possible
                .first()
                .copied()
                .expect("the job waits for nothing and has not ended");
            self.happen(first);
        }
        self.job
    }

    /// What can happen next.
    pub(super) fn possible(&self) -> Vec<Happening> {
        let mut possible = Vec::new();
        if self.in_flight.is_some() {
            possible.push(Happening::Committed);
        }
        let adopted = |key: &AttemptKey| {
            if self.running.contains_key(key) {
                Happening::Adopted(*key)
            } else {
                Happening::NotAdopted(*key)
            }
        };
        possible.extend(self.adopting.iter().map(adopted));
        if self.machine.wanted() > 0 && self.slots < self.capacity {
            possible.push(Happening::Slot);
        }
        let heard = |key: &&AttemptKey| !self.adopting.contains(key);
        possible.extend(
            self.running
                .keys()
                .filter(heard)
                .map(|key| Happening::Ended(*key)),
        );
        if self.wake.is_some() {
            possible.push(Happening::Time);
        }
        possible
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Committed => {
                let commit = self.in_flight.take().unwrap();
                let seq = commit.seq;
                self.apply(commit);
                self.input(Input::Committed {
                    seq,
                    verdict: Verdict::Applied,
                });
            }
            Happening::Adopted(key) => {
                self.adopting.remove(&key);
                self.input(Input::Adopted { key, found: true });
            }
            Happening::NotAdopted(key) => {
                self.adopting.remove(&key);
                self.input(Input::Adopted { key, found: false });
            }
            Happening::Slot => {
                self.slots += 1;
                self.input(Input::Slots(1));
            }
            Happening::Ended(key) => {
                let (task, told_to_stop) = self.running.remove(&key).unwrap();
                let result = if told_to_stop {
                    Err(StepError::transient("stopped"))
                } else {
                    (self.script)(&task)
                };
                self.input(Input::Step {
                    key,
                    event: StepEvent::Result(result),
                });
            }
            Happening::Time => {
                self.now = self.now.max(self.wake.take().unwrap());
                self.input(Input::Due);
            }
        }
    }

    pub(super) fn say(&mut self, key: StepKey, event: StepEvent) {
        let attempt = self.rows[&key].attempt;
        self.input(Input::Step {
            key: AttemptKey {
                job: JOB,
                step: key,
                attempt,
            },
            event,
        });
    }

    pub(super) fn cancel(&mut self) {
        self.cancel_requested = Some("asked".into());
        self.input(Input::Cancel {
            reason: "asked".into(),
        });
    }

    pub(super) fn lose(&mut self) {
        self.input(Input::LeaseLost);
    }

    /// The worker is told to stop.
    pub(super) fn hand_back(&mut self) {
        self.outlived = self.running.keys().filter(|key| self.outlives(key)).count();
        self.input(Input::HandBack);
    }

    fn outlives(&self, key: &AttemptKey) -> bool {
        self.plan.step(key.step.step).executor.outlives_worker()
    }

    /// Another worker takes up a job that was handed back.
    pub(super) fn taken_up(&mut self) {
        assert_eq!(self.closed.take(), Some(JobStatus::Pending));
        assert_eq!(
            self.job,
            JobStatus::Pending,
            "given back before it was remembered"
        );
        let outlives = |key: &AttemptKey| self.plan.step(key.step.step).executor.outlives_worker();
        assert!(
            self.running.keys().all(outlives),
            "given back while it runs"
        );
        self.job = JobStatus::Running;
        self.take_over();
    }

    /// The worker dies with all its attempts; another one takes the job over. A commit under way is applied or not.
    pub(super) fn crash(&mut self, applied: bool) {
        if let Some(commit) = self.in_flight.take().filter(|_| applied) {
            self.apply(commit);
        }
        if self.job.is_terminal() {
            self.closed = Some(self.job);
            return;
        }
        self.running.clear();
        self.job = JobStatus::Running;
        self.take_over();
    }

    /// The worker dies and its attempts don't: they run somewhere else.
    pub(super) fn crash_but_attempts_live(&mut self) {
        assert!(self.in_flight.is_none(), "let the commit be applied first");
        self.take_over();
    }

    fn take_over(&mut self) {
        self.adopting.clear();
        self.wake = None;
        self.slots = 0;
        self.outlived = self.running.len();
        self.fence += 1;
        self.seq = 0;
        let snapshot = snapshot(
            &self.plan,
            &self.rows,
            &self.params,
            self.now,
            self.cancel_requested.clone(),
        );
        self.machine = JobMachine::open(Arc::clone(&self.plan), snapshot, lease(self.fence));
        self.input(Input::Opened);
    }

    fn input(&mut self, input: Input) {
        let effects = self.machine.handle(input, self.now);
        for effect in effects {
            assert!(self.closed.is_none(), "{effect:?} after the end");
            match effect {
                Effect::Commit(commit) => {
                    assert!(self.in_flight.is_none(), "two commits under way");
                    assert_eq!(commit.lease, lease(self.fence));
                    self.in_flight = Some(commit);
                }
                Effect::Start(task) => self.start(*task),
                Effect::Adopt(key) => {
                    self.adopting.insert(key);
                }
                Effect::Stop(key) => {
                    if let Some((_, told)) = self.running.get_mut(&key) {
                        *told = true;
                    }
                }
                Effect::Wake(at) => self.wake = Some(at),
                Effect::Release(slots) => {
                    self.slots = self
                        .slots
                        .checked_sub(slots)
                        .expect("released more than it has");
                }
                Effect::Close(status) => self.closed = Some(status),
            }
        }
        // Attempts that outlived their worker have no slots of this one.
        let own = self.running.len().saturating_sub(self.outlived);
        let most = self.plan.pipeline.max_parallel_steps;
        let most = most.map_or(self.slots, |most| self.slots.min(most as usize));
        assert!(
            own <= most || self.closed.is_some(),
            "too many attempts at once"
        );
    }

    fn start(&mut self, task: StepTask) {
        let row = &self.rows[&task.key.step];
        assert_eq!(
            (row.status, row.attempt),
            (StepStatus::Running, task.key.attempt),
            "started before it was remembered"
        );
        assert!(
            !self.starts.contains(&task.key),
            "an attempt is started twice"
        );
        assert!(self.job == JobStatus::Running);
        for &on in self.plan.dag.dependencies(task.key.step.step) {
            assert!(
                self.rows[&StepKey::step(on)].status.is_terminal(),
                "started before its dependencies were settled"
            );
        }
        self.starts.push(task.key);
        self.running.insert(task.key, (task, false));
    }

    /// Makes a commit true, as strictly as a database does.
    fn apply(&mut self, commit: Commit) {
        assert_eq!(commit.seq, self.seq + 1, "a gap in the commits");
        assert_eq!(self.job, JobStatus::Running);
        self.seq = commit.seq;
        for change in &commit.changes {
            match change {
                Change::Job {
                    to,
                    error,
                    rows_processed,
                    ..
                } => {
                    let of_steps = self.rows.values().filter(|row| row.items.is_none());
                    let handled: u64 = of_steps.map(|row| row.rows_processed).sum();
                    assert_eq!(*rows_processed, handled, "rows are lost or counted twice");
                    assert!(
                        job_transition(self.job, *to)
                            .is_some_and(|writers| writers.contains(&Writer::Owner))
                    );
                    let open: Vec<_> = self
                        .rows
                        .values()
                        .filter(|row| !row.status.is_terminal())
                        .collect();
                    assert!(
                        open.is_empty() || *to == JobStatus::Pending,
                        "the job ended as {to} with open steps: {open:?}"
                    );
                    self.job = *to;
                    self.job_error.clone_from(error);
                }
                Change::Step {
                    key,
                    attempt,
                    to,
                    patch,
                } => {
                    let row = self.rows.get_mut(key).expect("a step that does not exist");
                    assert!(
                        step_transition(row.status, *to),
                        "{key}: {} to {to}",
                        row.status
                    );
                    assert!(
                        row.status != StepStatus::Retrying
                            || *to != StepStatus::Running
                            || row.due_at.is_none_or(|due| due <= commit.at),
                        "repeated before its time"
                    );
                    assert!(*attempt >= row.attempt, "attempts go backwards");
                    row.status = *to;
                    row.attempt = *attempt;
                    row.due_at = patch.due_at;
                    row.lost = patch.lost.unwrap_or(row.lost);
                    row.returned = patch.returned.unwrap_or(row.returned);
                    row.output = patch.output.clone().unwrap_or_default();
                    row.artifacts = patch.artifacts.clone().unwrap_or_default();
                    row.rows_processed = patch.rows_processed.unwrap_or_default();
                    row.skip_reason = patch.skip_reason;
                }
                Change::Expand { step, items } => {
                    let row = self.rows.get_mut(&StepKey::step(*step)).unwrap();
                    assert_eq!(row.status, StepStatus::Pending);
                    row.status = StepStatus::Running;
                    row.attempt = 1;
                    row.items = Some(items.clone());
                    let keys = (0..items.len() as u32).map(|item| StepKey::item(*step, item));
                    self.rows.extend(keys.map(|key| (key, blank(key))));
                }
                Change::Checkpoint { key, seq, state } => {
                    let row = self.rows.get_mut(key).unwrap();
                    assert!(
                        row.checkpoint.as_ref().is_none_or(|(last, _)| last < seq),
                        "a checkpoint goes backwards"
                    );
                    row.checkpoint = Some((*seq, state.clone()));
                }
                Change::Bury(letter) => self.letters.push(letter.clone()),
                Change::Hook(hook) => self.hooks.push(hook.clone()),
            }
        }
        self.commits.push(commit);
    }
}

/// Something that can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    Committed,
    Adopted(AttemptKey),
    NotAdopted(AttemptKey),
    Slot,
    Ended(AttemptKey),
    Time,
}

pub(super) fn lease(fence: u64) -> LeaseRef {
    LeaseRef {
        job: JOB,
        fence: Fence(fence),
    }
}

fn blank(key: StepKey) -> StepSnapshot {
    StepSnapshot {
        key,
        status: StepStatus::Pending,
        attempt: 0,
        lost: 0,
        returned: 0,
        due_at: None,
        items: None,
        output: Value::Null,
        artifacts: Vec::new(),
        rows_processed: 0,
        bytes_transferred: 0,
        skip_reason: None,
        checkpoint: None,
    }
}

pub(super) fn snapshot(
    plan: &Plan,
    rows: &BTreeMap<StepKey, StepSnapshot>,
    params: &Value,
    started_at: Timestamp,
    cancel_requested: Option<String>,
) -> JobSnapshot {
    JobSnapshot {
        id: JOB,
        pipeline: PipelineRef {
            id: PipelineId(Uuid::nil()),
            namespace: "default".into(),
            name: plan.pipeline.name.as_str().into(),
            version: 1,
        },
        document: Arc::clone(&plan.pipeline),
        trigger_type: TriggerType::Manual,
        scheduled_for: None,
        parameters: Arc::new(params.clone()),
        context: Map::new(),
        retry_attempt: 0,
        started_at,
        cancel_requested,
        steps: rows
            .values()
            .filter(|row| row.status != StepStatus::Pending)
            .cloned()
            .collect(),
    }
}

/// Every attempt succeeds with its configuration as its output.
pub(super) fn echoes() -> Script {
    Box::new(|task| Ok(Report::rows(1).with_output((*task.config).clone())))
}

/// The first `times` attempts of each execution fail.
pub(super) fn fails(times: u32, class: ErrorClass) -> Script {
    Box::new(move |task| {
        if task.key.attempt <= times {
            Err(StepError::new(class, "no"))
        } else {
            Ok(Report::rows(1).with_output(json!("yes")))
        }
    })
}

pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}
