//! Moves inputs to a job's machine and its effects to where they are carried out. It has no policy of its own, and waits for
//! nothing but the next input: whatever takes time happens in a task beside it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::announcer::{NoticeSender, notices_of};
use super::commit::commit;
use super::keeper::Hold;
use super::launcher::{Attempts, Launcher};
use super::settings::Backends;
use super::slots::{Slot, Slots};
use crate::engine::{Effect, Input, JobMachine};
use crate::model::{AttemptKey, Change, Commit, Event, JobStatus, StepEvent, Timestamp, Verdict};

/// What the drivers of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) backends: Backends,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) notices: NoticeSender,
    /// Steps that may run at once, over all jobs of the worker.
    pub(crate) slots: Slots,
    /// How long attempts may go on when the lease that they run under is lost: until it may be somebody else's.
    pub(crate) margin: Duration,
    /// Cancelled when jobs are to be given back as they are.
    pub(crate) hand_back: CancellationToken,
}

/// A commit on its way to the store; what it comes to is an input.
type Committing = BoxFuture<'static, Input>;

/// Drives one job under one lease.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    machine: JobMachine,
    hold: Hold,
    namespace: Arc<str>,
    inputs: mpsc::UnboundedReceiver<Input>,
    /// The commit under way: a job has at most one.
    committing: Option<Committing>,
    /// For those who answer.
    answers: mpsc::UnboundedSender<Input>,
    slots: Vec<Slot>,
    /// The attempts under way. They end with the driver, however it ends.
    attempts: Attempts,
    /// What tells an attempt to stop.
    stops: HashMap<AttemptKey, CancellationToken>,
    wake_at: Option<Timestamp>,
    /// The number of the last commit that was sent.
    sent: u64,
    /// The notices of the commit under way.
    notices: Vec<Event>,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        machine: JobMachine,
        hold: Hold,
        namespace: Arc<str>,
        answers: mpsc::UnboundedSender<Input>,
        inputs: mpsc::UnboundedReceiver<Input>,
    ) -> Self {
        Self {
            shared,
            machine,
            hold,
            namespace,
            inputs,
            committing: None,
            answers,
            slots: Vec::new(),
            attempts: Attempts::new(),
            stops: HashMap::new(),
            wake_at: None,
            sent: 0,
            notices: Vec::new(),
        }
    }

    /// Drives the job until it ends or is lost. Answers where it is then.
    pub(crate) async fn run(mut self) -> JobStatus {
        let mut input = Input::Opened;
        loop {
            self.before(&input);
            let now = self.shared.backends.clock.now();
            let frees = matches!(&input, Input::Step { event, .. } if matches!(event, StepEvent::Result(_)));
            let mut effects = Vec::new();
            if frees && self.shared.slots.are_awaited() {
                effects = self.machine.handle(Input::Yield, now);
            }
            effects.append(&mut self.machine.handle(input, now));
            for effect in effects {
                if let Effect::Close(status) = effect {
                    return self.close(status).await;
                }
                self.carry_out(effect);
            }
            input = self.next_input().await;
        }
    }

    /// Lets attempts that were told to stop, because the lease is lost or given up, do so while that is safe; then they are
    /// dropped.
    async fn close(mut self, status: JobStatus) -> JobStatus {
        let job_id = self.hold.lease().job;
        let attempts = &mut self.attempts;
        let stop = async { while attempts.next().await.is_some() {} };
        if tokio::time::timeout(self.shared.margin, stop)
            .await
            .is_err()
        {
            tracing::warn!(%job_id, "attempts did not stop in time and were abandoned");
        }
        if status == JobStatus::Running && self.shared.hand_back.is_cancelled() {
            self.attempts.clear();
            self.hand_back().await
        } else {
            status
        }
    }

    /// Gives the job back as it is, for another worker to take up at once. What ran of it counts as lost, not as failed.
    async fn hand_back(mut self) -> JobStatus {
        let seq = self.sent + 1;
        let commit = Commit {
            lease: self.hold.lease(),
            seq,
            at: self.shared.backends.clock.now(),
            changes: vec![Change::Job {
                to: JobStatus::Pending,
                error: None,
                error_stack: None,
                rows_processed: 0,
                bytes_transferred: 0,
            }],
        };
        // Behind a commit that may still be under way: if that is lost, so is this.
        let mut last = None;
        for committing in [self.committing.take(), Some(self.send(commit))]
            .into_iter()
            .flatten()
        {
            let Some(input) = self.unless_lost(committing).await else {
                return JobStatus::Running;
            };
            self.before(&input);
            last = Some(input);
        }
        match last {
            Some(Input::Committed {
                verdict: Verdict::Lost { now },
                ..
            }) => now,
            _ => JobStatus::Pending,
        }
    }

    /// Waits for a commit as long as the lease may hold.
    async fn unless_lost(&mut self, mut committing: Committing) -> Option<Input> {
        loop {
            tokio::select! {
                biased;
                input = &mut committing => return Some(input),
                input = self.inputs.recv() => if matches!(input, None | Some(Input::LeaseLost)) {
                    return None;
                }
            }
        }
    }

    fn send(&self, changes: Commit) -> Committing {
        let store = Arc::clone(&self.shared.backends.store);
        Box::pin(async move {
            let seq = changes.seq;
            let verdict = commit(&*store, changes).await;
            Input::Committed { seq, verdict }
        })
    }

    async fn next_input(&mut self) -> Input {
        let wanted = self.machine.wanted();
        let before = self.slots.len();
        let free = (0..wanted).map_while(|_| self.shared.slots.try_take());
        self.slots.extend(free);
        if self.slots.len() > before {
            return Input::Slots(self.slots.len() - before);
        }
        let clock = Arc::clone(&self.shared.backends.clock);
        let wake_at = self.wake_at;
        let due = async {
            match wake_at {
                Some(at) => tokio::time::sleep(at.since(clock.now())).await,
                None => std::future::pending().await,
            }
        };
        let attempts = &mut self.attempts;
        let listen = async {
            while attempts.next().await.is_some() {}
            std::future::pending::<Infallible>().await
        };
        let committing = &mut self.committing;
        let committed = async {
            match committing {
                Some(commit) => {
                    let input = commit.await;
                    *committing = None;
                    input
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shared.hand_back.cancelled() => Input::LeaseLost,
            // Before the inputs, for whatever an attempt has to say comes as one.
            never = listen => match never {},
            // Before the commit, so that the next one takes as much as there is.
            input = self.inputs.recv() => input.unwrap_or(Input::LeaseLost),
            input = committed => input,
            slot = self.shared.slots.take(), if wanted > 0 => match slot {
                Some(slot) => {
                    self.slots.push(slot);
                    Input::Slots(1)
                }
                None => Input::LeaseLost,
            },
            () = due => {
                self.wake_at = None;
                Input::Due
            }
        }
    }

    fn before(&mut self, input: &Input) {
        match input {
            Input::Committed { verdict, .. } => {
                let notices = std::mem::take(&mut self.notices);
                if matches!(verdict, Verdict::Applied | Verdict::AlreadyApplied) {
                    self.shared.notices.tell(notices);
                }
            }
            Input::Step {
                key,
                event: StepEvent::Result(_),
            } => {
                self.stops.remove(key);
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Commit(commit) => {
                self.notices = notices_of(self.machine.plan(), &commit);
                self.sent = commit.seq;
                self.committing = Some(self.send(commit));
            }
            Effect::Start(task) => {
                let key = task.key;
                let stop = self.shared.launcher.launch(
                    *task,
                    Arc::clone(&self.namespace),
                    self.answers.clone(),
                    &self.attempts,
                );
                self.stops.insert(key, stop);
            }
            Effect::Adopt(key) => {
                let step = self.machine.plan().step(key.step.step);
                let (name, executor) = (Arc::clone(&step.name), step.executor);
                let answers = self.answers.clone();
                let stop = self
                    .shared
                    .launcher
                    .adopt(key, name, executor, answers, &self.attempts);
                self.stops.extend(stop.map(|stop| (key, stop)));
            }
            Effect::Stop(key) => {
                if let Some(stop) = self.stops.get(&key) {
                    stop.cancel();
                }
            }
            Effect::Wake(at) => self.wake_at = Some(at),
            Effect::Release(slots) => {
                let keep = self.slots.len().saturating_sub(slots);
                self.slots.truncate(keep);
            }
            Effect::Close(_) => {}
        }
    }
}
