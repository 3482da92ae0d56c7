//! The machine itself: what it holds, and how an input becomes effects. The parts of the life of a job are beside it:
//! recovery, the pace, attempts, retries, fan-outs, the ending.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::effect::Effect;
use super::fanout::FanOut;
use super::input::Input;
use crate::graph::{Decision, Frontier, Settled};
use crate::model::{
    Artifact, ArtifactName, AttemptKey, BaseDir, Change, Commit, JobId, JobSnapshot, JobStatus,
    LeaseRef, PipelineRef, SkipReason, StepKey, StepPatch, StepStatus, Timestamp, Verdict,
};
use crate::plan::Plan;
use crate::template::{Fact, Scope};

/// One job under one lease.
///
/// Make it with [`open`](Self::open), give it [`Input::Opened`], and carry out what it answers. It is deterministic: the
/// same inputs at the same times give the same effects.
#[derive(Debug)]
pub struct JobMachine {
    pub(super) plan: Arc<Plan>,
    pub(super) job: JobId,
    pub(super) pipeline: PipelineRef,
    pub(super) lease: LeaseRef,
    pub(super) base_dir: Option<BaseDir>,
    pub(super) params: Fact,
    pub(super) job_fact: Fact,
    pub(super) phase: Phase,
    pub(super) deadline: Option<Timestamp>,
    /// What the last owner left, until `Opened`.
    pub(super) snapshot: Option<Box<JobSnapshot>>,

    pub(super) steps: Vec<StepState>,
    pub(super) frontier: Frontier,
    pub(super) facts: BTreeMap<u32, Fact>,
    pub(super) fan_outs: BTreeMap<u32, FanOut>,
    /// Steps not settled yet.
    pub(super) unsettled: usize,
    pub(super) settling: VecDeque<(u32, Settled)>,

    pub(super) ready: VecDeque<StepKey>,
    pub(super) running: BTreeMap<StepKey, Running>,
    pub(super) retries: BTreeSet<(Timestamp, StepKey)>,
    pub(super) deadlines: BTreeSet<(Timestamp, StepKey)>,
    pub(super) slots: usize,
    /// The next free slot is for other jobs.
    pub(super) yields: bool,
    /// Attempts of the last owner that are being looked for.
    pub(super) adopting: BTreeMap<StepKey, u32>,
    /// Attempts that run on without this worker when the job is given back.
    pub(super) left: Vec<AttemptKey>,
    pub(super) checkpoints: BTreeMap<StepKey, Value>,
    /// The newest checkpoint of each execution since the last commit, with its number.
    pub(super) unsaved: BTreeMap<StepKey, (u64, Value)>,

    pub(super) totals: Totals,
    pub(super) failures: Failures,

    next_seq: u64,
    in_flight: Option<(u64, Vec<Effect>)>,
    changes: Vec<Change>,
    /// What may happen once `changes` are remembered.
    after: Vec<Effect>,
    pub(super) woken_for: Option<Timestamp>,
}

/// What the machine is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// Steps run as they may.
    Running,
    /// No step starts any more; when the last has stopped, the job ends.
    Stopping { to: JobStatus, reason: String },
    /// No step starts any more; when the last has stopped, the job is another worker's.
    HandingBack,
    /// The verdict is on its way to the store, or everything is over.
    Ended,
}

/// Where a step execution is, as far as deciding needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StepState {
    pub(super) status: StepStatus,
    pub(super) attempt: u32,
    pub(super) lost: u32,
    /// Attempts that were given back: they count neither as failed nor as lost.
    pub(super) returned: u32,
    /// The number of the last checkpoint.
    pub(super) checkpoint: u64,
}

impl StepState {
    pub(super) const PENDING: Self = Self {
        status: StepStatus::Pending,
        attempt: 0,
        lost: 0,
        returned: 0,
        checkpoint: 0,
    };
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) attempt: u32,
    pub(super) deadline: Timestamp,
    pub(super) stopped: Option<StopCause>,
    /// URIs by name, in the order in which they were told.
    pub(super) artifacts: IndexMap<ArtifactName, String>,
    pub(super) metrics: Map<String, Value>,
    /// How many bytes the names and URIs of these take.
    pub(super) remembered: usize,
}

/// Why an attempt was told to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StopCause {
    /// It ran too long.
    Timeout,
    /// The job ends.
    JobEnds,
    /// The job is given back for another worker.
    HandBack,
    /// It broke a limit.
    Broken(String),
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// What failed, for the job's own message.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) count: usize,
    pub(super) first: Option<(String, Option<String>)>,
}

impl JobMachine {
    /// A machine for a claimed job: a new one, or one that another worker left.
    pub fn open(plan: Arc<Plan>, job: JobSnapshot, lease: LeaseRef) -> Self {
        let base_dir = job
            .context
            .get("base_dir")
            .and_then(|base| BaseDir::deserialize(base).ok());
        let timeout = plan
            .pipeline
            .timeout_seconds
            .map(std::time::Duration::from_secs);
        Self {
            job: job.id,
            pipeline: job.pipeline.clone(),
            lease,
            base_dir,
            params: Fact::from_json(&job.parameters),
            job_fact: Fact::job(
                job.id,
                job.trigger_type,
                job.scheduled_for,
                job.retry_attempt,
            ),
            phase: Phase::Running,
            deadline: timeout.map(|timeout| job.started_at + timeout),
            snapshot: Some(Box::new(job)),
            steps: vec![StepState::PENDING; plan.steps.len()],
            frontier: Frontier::new(&plan.dag),
            facts: BTreeMap::new(),
            fan_outs: BTreeMap::new(),
            unsettled: plan.steps.len(),
            settling: VecDeque::new(),
            ready: VecDeque::new(),
            running: BTreeMap::new(),
            retries: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            slots: 0,
            yields: false,
            adopting: BTreeMap::new(),
            left: Vec::new(),
            checkpoints: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            totals: Totals::default(),
            failures: Failures::default(),
            next_seq: 1,
            in_flight: None,
            changes: Vec::new(),
            after: Vec::new(),
            woken_for: None,
            plan,
        }
    }

    /// The plan that it follows.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Takes one input at a time. What comes back is to be carried out in order.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Opened => self.begin(now, &mut effects),
            Input::Slots(more) => self.slots += more,
            Input::Yield => self.yields = true,
            Input::Committed { seq, verdict } => self.committed(seq, verdict, now, &mut effects),
            Input::Step { key, event } => self.step_event(key, event, now, &mut effects),
            Input::Adopted { key, found } => self.adopted(key, found, now, &mut effects),
            Input::Due => {
                self.woken_for = None;
                self.time_passes(now, &mut effects);
            }
            Input::Cancel { reason } => self.stop(JobStatus::Cancelled, reason, &mut effects),
            Input::HandBack => self.hand_back(&mut effects),
            Input::LeaseLost => self.lose(JobStatus::Running, &mut effects),
        }
        self.go_on(now, &mut effects);
        effects
    }

    /// Whatever follows from the last input: starts, the verdict, a commit, the next time to be woken.
    fn go_on(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.snapshot.is_some() || self.phase == Phase::Ended {
            self.flush(now, effects);
            return;
        }
        self.settle_all(now);
        self.give_way(&mut *effects);
        while self.phase == Phase::Running
            && self.running.len() < self.slots.min(self.max_parallel())
        {
            let Some(key) = self.ready.pop_front() else {
                break;
            };
            self.start(key, now);
            self.settle_all(now);
        }
        self.conclude(effects);
        self.release(effects);
        self.flush(now, effects);
        self.wake(effects);
    }

    /// Carries settled steps through the graph until nothing more is decided. A loop and not a recursion: a chain of
    /// 100,000 skipped steps must not overflow the stack.
    pub(super) fn settle_all(&mut self, now: Timestamp) {
        let mut decided = Vec::new();
        while let Some((step, settled)) = self.settling.pop_front() {
            let plan = Arc::clone(&self.plan);
            self.frontier.settle(
                &plan.dag,
                |at| plan.step(at).trigger_rule,
                step,
                settled,
                &mut decided,
            );
            for (step, decision) in decided.drain(..) {
                if self.steps[step as usize].status == StepStatus::Pending
                    && !self.fan_outs.contains_key(&step)
                {
                    match decision {
                        Decision::Run => self.admit(step, now),
                        Decision::Skip(reason) => self.skip(StepKey::step(step), reason),
                    }
                }
            }
        }
    }

    /// Marks an execution as settled; a step's own settlement goes on to its dependants, an item's to its step.
    pub(super) fn settled(&mut self, key: StepKey, status: StepStatus, reason: Option<SkipReason>) {
        match key.item {
            None => {
                self.steps[key.step as usize].status = status;
                self.unsettled -= 1;
                self.settling
                    .push_back((key.step, settled_as(status, reason)));
            }
            Some(item) => self.item_settled(key.step, item, status),
        }
    }

    pub(super) fn skip(&mut self, key: StepKey, reason: SkipReason) {
        self.change_step(
            key,
            0,
            StepStatus::Skipped,
            StepPatch {
                skip_reason: Some(reason),
                ..StepPatch::default()
            },
        );
        self.keep_fact(key, StepStatus::Skipped, &Value::Null, &[], 0);
        self.settled(key, StepStatus::Skipped, Some(reason));
    }

    /// What a template of this step sees.
    pub(super) fn scope(&self, step: u32, item: Option<(&Value, u32)>) -> Scope {
        let reads = &self.plan.step(step).reads;
        Scope {
            params: Some(self.params.clone()),
            job: Some(self.job_fact.clone()),
            steps: reads
                .iter()
                .filter_map(|(name, at)| Some((Arc::clone(name), self.facts.get(at)?.clone())))
                .collect(),
            item: item.map(|(value, index)| (Fact::from_json(value), index)),
        }
    }

    /// Keeps what other templates may ask of a step, if any does.
    pub(super) fn keep_fact(
        &mut self,
        key: StepKey,
        status: StepStatus,
        output: &Value,
        artifacts: &[Artifact],
        rows: u64,
    ) {
        if key.item.is_none() && self.plan.step(key.step).is_read {
            self.facts
                .insert(key.step, Fact::step(status, output, artifacts, rows));
        }
    }

    pub(super) fn state(&mut self, key: StepKey) -> Option<&mut StepState> {
        match key.item {
            None => self.steps.get_mut(key.step as usize),
            Some(item) => self
                .fan_outs
                .get_mut(&key.step)?
                .states
                .get_mut(item as usize),
        }
    }

    pub(super) fn attempt_key(&self, step: StepKey, attempt: u32) -> AttemptKey {
        AttemptKey {
            job: self.job,
            step,
            attempt,
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    pub(super) fn change_step(
        &mut self,
        key: StepKey,
        attempt: u32,
        to: StepStatus,
        patch: StepPatch,
    ) {
        self.change(Change::Step {
            key,
            attempt,
            to,
            patch: Box::new(patch),
        });
    }

    /// Lets `effect` happen once what was decided so far is remembered.
    pub(super) fn afterwards(&mut self, effect: Effect) {
        self.after.push(effect);
    }

    fn committed(&mut self, seq: u64, verdict: Verdict, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some((expected, after)) = self.in_flight.take() else {
            return;
        };
        if expected != seq {
            self.in_flight = Some((expected, after));
            return;
        }
        match verdict {
            Verdict::Applied | Verdict::AlreadyApplied => {
                for effect in after {
                    match effect {
                        // The job began to end while the attempt was being remembered: it never starts.
                        Effect::Start(task) if self.phase != Phase::Running => {
                            self.never_started(task.key.step, now);
                        }
                        // It was told to stop before it started: its time ran out while it was being remembered.
                        Effect::Start(task) if self.is_stopped(task.key.step) => {
                            let key = task.key;
                            effects.extend([Effect::Start(task), Effect::Stop(key)]);
                        }
                        other => effects.push(other),
                    }
                }
            }
            Verdict::Lost { now: status } => self.lose(status, effects),
        }
    }

    pub(super) fn lose(&mut self, status: JobStatus, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Ended && self.running.is_empty() && self.in_flight.is_none() {
            return;
        }
        self.phase = Phase::Ended;
        self.snapshot = None;
        self.in_flight = None;
        self.changes.clear();
        self.unsaved.clear();
        self.after.clear();
        self.ready.clear();
        let (job, plan) = (self.job, Arc::clone(&self.plan));
        let running = std::mem::take(&mut self.running).into_iter();
        // What outlives its worker belongs to the next owner, who may have adopted it by now.
        let stops = running.filter(|(key, _)| {
            status.is_terminal() || !plan.step(key.step).executor.outlives_worker()
        });
        effects.extend(stops.map(|(step, run)| {
            Effect::Stop(AttemptKey {
                job,
                step,
                attempt: run.attempt,
            })
        }));
        self.release_all(effects);
        effects.push(Effect::Close(status));
    }

    fn is_stopped(&self, key: StepKey) -> bool {
        self.running
            .get(&key)
            .is_some_and(|running| running.stopped.is_some())
    }

    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    fn flush(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.in_flight.is_some() || (self.changes.is_empty() && self.unsaved.is_empty()) {
            return;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        let checkpoints = std::mem::take(&mut self.unsaved).into_iter();
        // Before what may end their attempts.
        let mut changes: Vec<Change> = checkpoints
            .map(|(key, (seq, state))| Change::Checkpoint { key, seq, state })
            .collect();
        changes.append(&mut self.changes);
        self.in_flight = Some((seq, std::mem::take(&mut self.after)));
        effects.push(Effect::Commit(Commit {
            lease: self.lease,
            seq,
            at: now,
            changes,
            // What is said of it is its driver's to say.
            lines: Vec::new(),
        }));
    }
}

/// What a settled step is to its dependants.
pub(super) fn settled_as(status: StepStatus, reason: Option<SkipReason>) -> Settled {
    match (status, reason) {
        (StepStatus::Success, _) => Settled::Success,
        (StepStatus::Skipped, Some(SkipReason::UpstreamFailed)) => Settled::Failed,
        (StepStatus::Skipped, _) => Settled::Skipped,
        _ => Settled::Failed,
    }
}
