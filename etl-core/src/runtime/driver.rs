//! Moves inputs to a job's machine and its effects to where they are carried out. It has no policy of its own. It polls all that
//! it waits for together: the commit, the attempts, the clock, a place to run in. What a connector does happens elsewhere.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::announcer::{NoticeSender, notices_of};
use super::attempts::{Attempts, poll_some};
use super::commit::commit;
use super::keeper::Hold;
use super::launcher::Launcher;
use super::lines::Teller;
use super::observed::Observed;
use super::settings::Backends;
use super::slots::{Slot, Slots};
use crate::engine::{Effect, Input, JobMachine};
use crate::model::{AttemptKey, Commit, Event, JobStatus, StepEvent, Timestamp, Verdict};

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

/// What comes next.
enum Next {
    Input(Input),
    Due,
    HandBack,
    Slot(Slot),
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
    is_handing_back: bool,
    /// The notices of the commit under way.
    notices: Vec<Event>,
    /// What an observer hears, if there is one.
    observed: Option<Observed>,
    /// What its log says.
    teller: Teller,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        machine: JobMachine,
        hold: Hold,
        namespace: Arc<str>,
        observed: Option<Observed>,
        teller: Teller,
        (answers, inputs): (mpsc::UnboundedSender<Input>, mpsc::UnboundedReceiver<Input>),
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
            is_handing_back: false,
            notices: Vec::new(),
            observed,
            teller,
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
        if tokio::time::timeout(self.shared.margin, self.attempts.ended())
            .await
            .is_err()
        {
            tracing::warn!(%job_id, "attempts did not stop in time and were abandoned");
        }
        status
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
        let mut due = pin!(wake_at.map(|at| tokio::time::sleep(at.since(clock.now()))));
        let mut hand_back =
            pin!((!self.is_handing_back).then(|| self.shared.hand_back.cancelled()));
        let mut slot = pin!((wanted > 0).then(|| self.shared.slots.take()));
        let (attempts, inputs) = (&mut self.attempts, &mut self.inputs);
        let committing = &mut self.committing;
        let next = poll_fn(|cx| {
            if poll_some(hand_back.as_mut().as_pin_mut(), cx).is_ready() {
                return Poll::Ready(Next::HandBack);
            }
            // What was said comes first, and only when all of it is dealt with is anybody listened to again: who talks
            // without an end is as fast as the store and the machine, and the clock is looked at between.
            if let Poll::Ready(input) = inputs.poll_recv(cx) {
                return Poll::Ready(Next::Input(input.unwrap_or(Input::LeaseLost)));
            }
            if let Poll::Ready(input) = poll_some(committing.as_mut().map(|c| c.as_mut()), cx) {
                *committing = None;
                return Poll::Ready(Next::Input(input));
            }
            if poll_some(due.as_mut().as_pin_mut(), cx).is_ready() {
                return Poll::Ready(Next::Due);
            }
            if let Poll::Ready(slot) = poll_some(slot.as_mut().as_pin_mut(), cx) {
                return Poll::Ready(slot.map_or(Next::Input(Input::LeaseLost), Next::Slot));
            }
            attempts.listen(cx);
            inputs
                .poll_recv(cx)
                .map(|input| Next::Input(input.unwrap_or(Input::LeaseLost)))
        })
        .await;
        match next {
            Next::Input(input) => input,
            Next::HandBack => {
                self.is_handing_back = true;
                Input::HandBack
            }
            Next::Due => {
                self.wake_at = None;
                Input::Due
            }
            Next::Slot(slot) => {
                self.slots.push(slot);
                Input::Slots(1)
            }
        }
    }

    fn before(&mut self, input: &Input) {
        match input {
            Input::Committed { verdict, .. } => {
                if let Some(observed) = &mut self.observed {
                    observed.answered(*verdict);
                }
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
            Input::LeaseLost => {
                if let Some(observed) = &mut self.observed {
                    observed.lost();
                }
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Commit(mut commit) => {
                commit.lines = {
                    let plan = self.machine.plan();
                    let name = |step| Some(Arc::clone(&plan.step(step).name));
                    self.teller.lines(&commit, name)
                };
                if let Some(observed) = &mut self.observed {
                    observed.decided(self.machine.plan(), &commit);
                }
                self.notices = notices_of(self.machine.plan(), &commit);
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
