//! Takes jobs up and has them driven.

use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::commit::commit;
use super::driver::{Driver, Shared};
use super::keeper::{Held, Hold, Keeper};
use super::lines::Teller;
use super::observed::Observed;
use super::plans::Plans;
use super::settings::{OwnJobs, Scope, Settings};
use crate::contract::store::{ClaimRequest, Claimed, Result, StoreError, StoreErrorKind};
use crate::contract::{Delivery, Observation};
use crate::engine::{self, Input, JobMachine};
use crate::model::{
    Commit, Event, EventKind, Fault, JobId, JobSnapshot, JobStatus, Verdict, WorkerId,
};

/// Claims jobs up to its capacity and drives each in a task of its own.
#[derive(Debug)]
pub struct Worker {
    id: WorkerId,
    shared: Arc<Shared>,
    settings: Settings,
    plans: Plans,
    held: Held,
    own: OwnJobs,
    drivers: JoinSet<Ended>,
}

/// A job that is no longer in a worker's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub job: JobId,
    /// Where it is; not terminal if its lease was lost.
    pub status: JobStatus,
    /// Whether its pipeline has a limit, so that another job of it may have waited for this end.
    pub made_room: bool,
}

impl Worker {
    /// Under an identity that no start of a process had before: a restarted one is never taken for its past self.
    pub(crate) fn new(
        id: WorkerId,
        shared: Arc<Shared>,
        settings: Settings,
        held: Held,
        own: OwnJobs,
    ) -> Self {
        let plans = Plans::new(Arc::clone(&shared.backends.registry));
        Self {
            id,
            shared,
            settings,
            plans,
            held,
            own,
            drivers: JoinSet::new(),
        }
    }

    /// Which worker this is.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    pub(crate) fn keeper(&self) -> Keeper {
        let store = self.shared.backends.store.clone();
        Keeper::new(
            store,
            self.id,
            self.held.clone(),
            self.settings.lease,
            self.settings.heartbeat,
        )
    }

    /// How many more jobs it can take.
    pub fn free(&self) -> usize {
        self.settings.max_jobs.saturating_sub(self.drivers.len())
    }

    /// Claims what `deliveries` hint at, or without any whatever waits in the store, and starts to drive it. Answers how
    /// many jobs it took.
    ///
    /// # Errors
    /// If the store can't be reached; the hints are not acknowledged then.
    pub async fn tick(&mut self, deliveries: Vec<Box<dyn Delivery>>) -> Result<usize> {
        let taken = self.take(deliveries, self.free()).await?;
        let count = taken.len();
        for life in taken {
            self.drivers.spawn(life);
        }
        Ok(count)
    }

    /// Claims at most `limit` jobs as [`tick`](Self::tick) does, and answers the life of each, from here to its end in this
    /// worker's hands. Nothing happens to a job, and its lease is not given up, before its life is polled or dropped.
    ///
    /// # Errors
    /// If the store can't be reached; the hints are not acknowledged then.
    pub(crate) async fn take(
        &self,
        deliveries: Vec<Box<dyn Delivery>>,
        limit: usize,
    ) -> Result<Vec<BoxFuture<'static, Ended>>> {
        let hints: Vec<JobId> = deliveries
            .iter()
            .map(|delivery| delivery.hint().job)
            .collect();
        let jobs = match self.settings.scope {
            Scope::All => (!hints.is_empty()).then_some(hints),
            Scope::Own if hints.is_empty() => Some(self.own.all()),
            Scope::Own => Some(hints.into_iter().filter(|job| self.own.has(*job)).collect()),
        };
        let trusted_until = Keeper::trust(self.settings.lease, self.settings.heartbeat);
        let claimed = if limit == 0 || jobs.as_ref().is_some_and(Vec::is_empty) {
            Vec::new()
        } else {
            let want = ClaimRequest {
                worker: self.id,
                jobs,
                limit,
                ttl: self.settings.lease,
                tags: self.settings.tags.clone(),
            };
            let claim = self.shared.backends.store.claim(want);
            // An answer that comes later is of no use: its lease may have run out by then.
            let unheard = |_| StoreError::new("claim", StoreErrorKind::Unavailable);
            tokio::time::timeout_at(trusted_until, claim)
                .await
                .map_err(unheard)??
        };
        // The lease protects the job from here; a hint with nothing to claim behind it is done with as well.
        let acks = join_all(deliveries.into_iter().map(Delivery::ack)).await;
        for error in acks.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "hint not acknowledged, it will come again");
        }
        let lives = claimed.into_iter().map(|job| self.life(job, trusted_until));
        Ok(lives.collect())
    }

    /// Waits until a job that it drives has ended; `None` if it drives none, or if the driver itself failed.
    pub async fn ended(&mut self) -> Option<Ended> {
        match self.drivers.join_next().await? {
            Ok(ended) => {
                if ended.status.is_terminal() {
                    self.own.remove(ended.job);
                }
                Some(ended)
            }
            Err(error) => {
                tracing::error!(%error, "a driver ended abnormally; its job is taken up again when its lease runs out");
                None
            }
        }
    }

    /// Whether it drives no job.
    pub fn is_idle(&self) -> bool {
        self.drivers.is_empty()
    }

    fn life(
        &self,
        claimed: Claimed,
        trusted_until: tokio::time::Instant,
    ) -> BoxFuture<'static, Ended> {
        let Claimed { lease, job, .. } = claimed;
        let id = job.id;
        let (answers, inputs) = mpsc::unbounded_channel();
        let hold = self.held.hold(lease, answers.clone(), trusted_until);
        let shared = Arc::clone(&self.shared);
        let ended = move |status, made_room| Ended {
            job: id,
            status,
            made_room,
        };
        let plan = match self.plans.plan(&job.pipeline, &job.document) {
            Ok(plan) => plan,
            Err(faults) => {
                return Box::pin(async move {
                    ended(refuse(&shared, hold, inputs, &job, &faults).await, true)
                });
            }
        };
        shared.notices.tell(vec![Event {
            job_id: id,
            at: job.started_at,
            kind: EventKind::Job {
                status: JobStatus::Running,
                error_message: None,
            },
        }]);
        let made_room = job.document.concurrency.is_some();
        let namespace = Arc::clone(&job.pipeline.namespace);
        let observer = shared.backends.observer.clone();
        let observed = observer.map(|observer| Observed::new(observer, &job));
        let teller = Teller::new(&job);
        let machine = JobMachine::open(plan, job, lease);
        let driver = Driver::new(
            shared,
            machine,
            hold,
            namespace,
            observed,
            teller,
            (answers, inputs),
        );
        Box::pin(async move { ended(driver.run().await, made_room) })
    }
}

/// Ends a job whose pipeline this worker can't even compile. It was valid when it was accepted, so the worker is older or
/// lacks a connector.
async fn refuse(
    shared: &Shared,
    hold: Hold,
    mut inputs: mpsc::UnboundedReceiver<Input>,
    job: &JobSnapshot,
    faults: &[Fault],
) -> JobStatus {
    let faults: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.pointer, fault.message))
        .collect();
    let error = format!("this worker can't run the pipeline: {}", faults.join("; "));
    let mut changes = Commit {
        lease: hold.lease(),
        seq: 1,
        at: shared.backends.clock.now(),
        changes: engine::give_up(job, error.clone()),
        lines: Vec::new(),
    };
    let name = |step: u32| {
        let step = job.document.steps.get(step as usize);
        step.map(|step| step.name.as_str().into())
    };
    changes.lines = Teller::new(job).lines(&changes, name);
    let at = changes.at;
    let observe = |observation| {
        if let Some(observer) = &shared.backends.observer {
            observer.observe(&observation);
        }
    };
    let committed = commit(&*shared.backends.store, changes);
    tokio::pin!(committed);
    loop {
        tokio::select! {
            biased;
            verdict = &mut committed => match verdict {
                Verdict::Applied | Verdict::AlreadyApplied => break,
                Verdict::Lost { now } => {
                    observe(Observation::LeaseLost);
                    return now;
                }
            },
            input = inputs.recv() => match input {
                // Its end was asked for: it ends anyway.
                Some(Input::Cancel { .. }) => {}
                _ => {
                    observe(Observation::LeaseLost);
                    return JobStatus::Running;
                }
            },
        }
    }
    observe(Observation::JobEnded {
        pipeline: job.pipeline.clone(),
        status: JobStatus::Failed,
        trigger: job.trigger_type,
        took: Some(at.since(job.started_at)),
    });
    shared.notices.tell(vec![Event {
        job_id: job.id,
        at,
        kind: EventKind::Job {
            status: JobStatus::Failed,
            error_message: Some(error),
        },
    }]);
    JobStatus::Failed
}
