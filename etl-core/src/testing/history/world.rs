//! Two stores that get the same operations.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{ChangeOp, CommitOp, KeyOp, Op, Pick, SeqOp};
use crate::contract::store::{
    ClaimRequest, JobStore as _, Journal as _, PipelineFilter, PutPipeline, ReapRequest, Result,
    StoredPipeline, Submitted,
};
use crate::contract::{Clock, Store};
use crate::memory::MemoryStore;
use crate::model::{
    Artifact, ArtifactName, By, Change, Commit, DeadLetter, ErrorClass, Fence, HookRow, HookTarget,
    JobFilter, JobId, JobRecord, JobSnapshot, LeaseRef, LogLevel, LogLine, OnLimit, PageRequest,
    Pipeline, PipelineId, SkipReason, StepKey, StepPatch, StepRecord, StepStatus, TakenOver,
    Timestamp, Verdict, WorkerId, step_transition,
};
use crate::testing::store::all_steps;
use crate::testing::{ManualClock, StoreFixture, a_pipeline, new_job};

pub(super) struct World<'a> {
    fixture: &'a dyn StoreFixture,
    clock: Arc<ManualClock>,
    /// `None` only while it restarts.
    subject: Option<Arc<dyn Store>>,
    reference: MemoryStore,
    /// Every version that was stored, as each of the two has it.
    pipelines: Vec<[StoredPipeline; 2]>,
    jobs: Vec<JobId>,
    leases: Vec<Lease>,
}

struct Lease {
    /// As each of the two gave it.
    of: [LeaseRef; 2],
    /// The last number that was applied.
    applied: u64,
}

/// Asserts that two answers are the same, errors by their kind.
fn same<T: Debug + PartialEq>(what: &str, [subject, reference]: [Result<T>; 2]) -> Option<T> {
    let [subject, reference] =
        [subject, reference].map(|answer| answer.map_err(|fault| fault.kind));
    assert_eq!(
        subject, reference,
        "{what}: the store, and the memory store"
    );
    subject.ok()
}

/// What is made by the stores themselves and need not be equal.
fn without_ids(mut record: JobRecord) -> JobRecord {
    record.pipeline_id = PipelineId(Uuid::nil());
    record.fence = Fence(0);
    record
}

fn step_without_ids(mut step: StepRecord) -> StepRecord {
    step.step_id = Uuid::nil();
    step
}

fn snapshot_without_ids(mut snapshot: JobSnapshot) -> JobSnapshot {
    snapshot.pipeline.id = PipelineId(Uuid::nil());
    snapshot
}

fn stored_without_ids(mut stored: StoredPipeline) -> StoredPipeline {
    stored.reference.id = PipelineId(Uuid::nil());
    stored
}

fn name_of(pipeline: u8) -> &'static str {
    ["p", "q"][usize::from(pipeline % 2)]
}

fn document(pipeline: u8, shape: u8) -> Arc<Pipeline> {
    let builder = a_pipeline(name_of(pipeline));
    match shape {
        0 => builder.steps(1),
        1 => builder.steps(3),
        2 => builder.steps(2).with_limit(1),
        3 => builder.steps(1).at_limit(2, OnLimit::Skip),
        4 => builder.steps(2).at_limit(1, OnLimit::CancelOldest),
        _ => builder.steps(3).with_limit(2),
    }
    .build()
}

fn worker(n: u8) -> WorkerId {
    WorkerId(Uuid::from_u128(u128::from(n) + 1))
}

fn millis(n: u16) -> Duration {
    Duration::from_millis(n.into())
}

fn key((step, item): KeyOp) -> StepKey {
    StepKey {
        step: step.into(),
        item: item.map(Into::into),
    }
}

impl<'a> World<'a> {
    pub(super) async fn new(fixture: &'a dyn StoreFixture) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self {
            fixture,
            subject: Some(fixture.fresh(clock.clone()).await),
            reference: MemoryStore::new(clock.clone()),
            clock,
            pipelines: Vec::new(),
            jobs: Vec::new(),
            leases: Vec::new(),
        }
    }

    fn stores(&self) -> [&dyn Store; 2] {
        let subject = self.subject.as_deref();
        [
            subject.expect("invariant: it is not restarting"),
            &self.reference,
        ]
    }

    /// One of the jobs, or now and then one that there is not.
    fn job(&self, pick: Pick) -> JobId {
        let job = self.jobs.get(usize::from(pick) % (self.jobs.len() + 1));
        job.copied().unwrap_or(JobId(Uuid::from_u128(u128::MAX)))
    }

    fn some_jobs(&self, picks: &[Pick]) -> Vec<JobId> {
        picks.iter().map(|pick| self.job(*pick)).collect()
    }

    pub(super) async fn play(&mut self, n: usize, op: &Op) {
        let what = format!("operation {n}, {op:?}");
        let [subject, reference] = self.stores();
        match op {
            Op::Put {
                pipeline,
                shape,
                expected,
            } => self.put(&what, *pipeline, *shape, *expected).await,
            Op::Remove(pipeline) => {
                let name = name_of(*pipeline);
                let answers = [
                    subject.remove_pipeline("default", name).await,
                    reference.remove_pipeline("default", name).await,
                ];
                same(&what, answers);
            }
            Op::Submit { .. } => self.submit(&what, op).await,
            Op::Dispatched(picks) => {
                let jobs = self.some_jobs(picks);
                let answers = [
                    subject.dispatched(&jobs).await,
                    reference.dispatched(&jobs).await,
                ];
                same(&what, answers);
            }
            Op::Waiting { older, limit } => {
                let (older, limit) = (millis(*older), usize::from(*limit));
                let answers = [
                    subject.waiting(older, limit).await,
                    reference.waiting(older, limit).await,
                ];
                same(&what, answers);
            }
            Op::Claim {
                worker: by,
                named,
                limit,
                ttl,
            } => {
                let want = ClaimRequest {
                    worker: worker(*by),
                    jobs: named.as_ref().map(|picks| self.some_jobs(picks)),
                    limit: (*limit).into(),
                    ttl: millis(*ttl),
                    tags: Vec::new(),
                };
                self.claim(&what, want).await;
            }
            Op::Renew {
                worker: by,
                leases,
                ttl,
            } => self.renew(&what, worker(*by), leases, millis(*ttl)).await,
            Op::Commit(batch) => self.commit(&what, batch).await,
            Op::Cancel(pick) => {
                let job = self.job(*pick);
                let reason = what.as_str();
                let answers = [
                    subject.cancel(job, reason).await,
                    reference.cancel(job, reason).await,
                ];
                same(&what, answers);
            }
            Op::Reap { job, limit } => {
                let want = ReapRequest {
                    job: job.map(|pick| self.job(pick)),
                    limit: (*limit).into(),
                };
                same(
                    &what,
                    [subject.reap(want).await, reference.reap(want).await],
                );
            }
            Op::Pass(ms) => self.clock.advance(millis(*ms)),
            Op::Append(picks) => {
                let jobs = self.some_jobs(picks).into_iter();
                let lines: Vec<_> = jobs.map(|job| said(job, &what, self.clock.now())).collect();
                let answers = [subject.append(&lines).await, reference.append(&lines).await];
                same(&what, answers);
            }
            Op::Restart => {
                if let Some(subject) = self.subject.take() {
                    let again = self.fixture.reopen(subject, self.clock.clone()).await;
                    self.subject = Some(again);
                    if self.fixture.facts().restart_ends_leases {
                        self.end_leases().await;
                    }
                }
            }
        }
    }

    /// Ends every lease of the memory store, as the other has done.
    async fn end_leases(&self) {
        for lease in &self.leases {
            let job = self.reference.job(lease.of[1].job).await.unwrap();
            let end = job.and_then(|job| job.lease_expires_at);
            if end.is_some_and(|end| end > self.clock.now()) {
                for by in 0..2 {
                    let lease = [lease.of[1]];
                    let renewed = self
                        .reference
                        .renew(worker(by), &lease, Duration::ZERO)
                        .await;
                    renewed.unwrap();
                }
            }
        }
    }

    async fn put(&mut self, what: &str, pipeline: u8, shape: u8, expected: Option<u8>) {
        let put = PutPipeline {
            document: document(pipeline, shape),
            expected_version: expected.map(Into::into),
            by: By::system(),
        };
        let mut references = Vec::new();
        let mut answers = Vec::new();
        for store in self.stores() {
            let answer = store.put_pipeline(put.clone()).await;
            answers.push(match answer {
                Ok(reference) => {
                    let stored = store
                        .pipeline_version(reference.id, reference.version)
                        .await;
                    let stored = stored.unwrap().unwrap();
                    references.push(stored.clone());
                    Ok(stored_without_ids(stored))
                }
                Err(fault) => Err(fault),
            });
        }
        let answers: [_; 2] = answers.try_into().unwrap();
        same(what, answers);
        if let Ok(stored) = references.try_into() {
            self.pipelines.push(stored);
        }
    }

    async fn submit(&mut self, what: &str, op: &Op) {
        let Op::Submit {
            of,
            priority,
            key,
            body,
            again,
            taken,
        } = op
        else {
            return;
        };
        if self.pipelines.is_empty() {
            return;
        }
        let id = match again {
            Some(pick) if !self.jobs.is_empty() => self.job(*pick),
            // In no order of their own, so that what is sorted by id is not sorted by chance.
            _ => {
                let n = self.jobs.len() as u128 + 1;
                JobId(Uuid::from_u128(
                    n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
                ))
            }
        };
        let pipeline = &self.pipelines[usize::from(*of) % self.pipelines.len()];
        let mut answers = Vec::new();
        for (store, stored) in self.stores().into_iter().zip(pipeline) {
            let mut job = new_job(stored);
            job.id = id;
            job.priority = *priority;
            job.idempotency_key = key.map(|key| format!("k{key}"));
            job.parameters = json!({ "body": body });
            job.taken_over = (0..*taken)
                .map(|step| TakenOver {
                    key: StepKey::step(step.into()),
                    items: None,
                    output: json!(step),
                    artifacts: Vec::new(),
                    rows_processed: 1,
                    bytes_transferred: 2,
                })
                .collect();
            answers.push(store.submit(job).await);
        }
        let answers: [_; 2] = answers.try_into().unwrap();
        if let Some(Submitted::New(id)) = same(what, answers) {
            self.jobs.push(id);
        }
    }

    async fn claim(&mut self, what: &str, want: ClaimRequest) {
        let [subject, reference] = self.stores();
        let answers = [
            subject.claim(want.clone()).await,
            reference.claim(want).await,
        ];
        let mut leases = [Vec::new(), Vec::new()];
        let mut side = 0;
        let answers = answers.map(|answer| {
            let told = answer.map(|claimed| {
                let told = claimed.into_iter().map(|claimed| {
                    leases[side].push(claimed.lease);
                    (claimed.expires_at, snapshot_without_ids(claimed.job))
                });
                told.collect::<Vec<_>>()
            });
            side += 1;
            told
        });
        same(what, answers);
        let [subject, reference] = leases;
        for of in subject.into_iter().zip(reference) {
            self.leases.push(Lease {
                of: of.into(),
                applied: 0,
            });
        }
    }

    fn leases(&self, picks: &[Pick]) -> Vec<usize> {
        let count = self.leases.len();
        let picked = picks.iter().filter(|_| count > 0);
        picked.map(|pick| usize::from(*pick) % count).collect()
    }

    async fn renew(&self, what: &str, worker: WorkerId, picks: &[Pick], ttl: Duration) {
        let picked = self.leases(picks);
        let of =
            |side: usize| -> Vec<_> { picked.iter().map(|n| self.leases[*n].of[side]).collect() };
        let [subject, reference] = self.stores();
        let answers = [
            subject.renew(worker, &of(0), ttl).await,
            reference.renew(worker, &of(1), ttl).await,
        ];
        same(what, answers);
    }

    async fn commit(&mut self, what: &str, batch: &[CommitOp]) {
        let mut commits = [Vec::new(), Vec::new()];
        let mut picked = Vec::new();
        // What each lease would have applied if the commits so far were.
        let mut applied: Vec<u64> = self.leases.iter().map(|lease| lease.applied).collect();
        for commit in batch {
            let Some(&n) = self.leases(&[commit.lease]).first() else {
                return;
            };
            let lease = &self.leases[n];
            let seq = match commit.seq {
                SeqOp::Next => applied[n] + 1,
                SeqOp::Again => applied[n],
                SeqOp::Old => applied[n].saturating_sub(1),
                SeqOp::Gap => applied[n] + 2,
            };
            if matches!(commit.seq, SeqOp::Next) {
                applied[n] = seq;
            }
            let rows = all_steps(&self.reference, lease.of[0].job).await;
            let changes: Vec<_> = commit
                .changes
                .iter()
                .map(|change| self.change(change, &rows))
                .collect();
            for (side, commits) in commits.iter_mut().enumerate() {
                commits.push(Commit {
                    lease: lease.of[side],
                    seq,
                    at: self.clock.now(),
                    changes: changes.clone(),
                    lines: vec![said(lease.of[side].job, what, self.clock.now())],
                });
            }
            picked.push((n, seq));
        }
        let [subject, reference] = self.stores();
        let answers = [
            subject.commit(&commits[0]).await,
            reference.commit(&commits[1]).await,
        ];
        let verdicts = same(what, answers).unwrap_or_default();
        for ((lease, seq), verdict) in picked.into_iter().zip(verdicts) {
            if verdict == Verdict::Applied {
                self.leases[lease].applied = seq;
            }
        }
    }

    fn change(&self, op: &ChangeOp, rows: &[StepRecord]) -> Change {
        match op {
            ChangeOp::Legal(pick) => {
                let legal: Vec<_> = rows
                    .iter()
                    .flat_map(|row| StepStatus::ALL.iter().map(move |to| (row, *to)))
                    .filter(|(row, to)| step_transition(row.status, *to))
                    .map(|(row, to)| {
                        (
                            StepKey {
                                step: row.order_index,
                                item: row.item_index,
                            },
                            to,
                        )
                    })
                    .collect();
                match legal.get(usize::from(*pick) % legal.len().max(1)) {
                    Some((key, to)) => self.step(*key, *to, pick % 2 == 0),
                    None => crate::testing::build::ends(crate::model::JobStatus::Success),
                }
            }
            ChangeOp::Step { key: of, to, full } => self.step(key(*of), *to, *full),
            ChangeOp::Expand { step, items } => Change::Expand {
                step: (*step).into(),
                items: (0..*items).map(Value::from).collect(),
            },
            ChangeOp::Checkpoint { key: of, seq } => Change::Checkpoint {
                key: key(*of),
                seq: (*seq).into(),
                state: json!({ "seq": seq }),
            },
            ChangeOp::Bury(of) => Change::Bury(DeadLetter {
                key: key(*of),
                step_name: "s".into(),
                attempts: 4,
                error_class: ErrorClass::Permanent,
                error: "no".into(),
            }),
            ChangeOp::Hook(position) => Change::Hook(HookRow {
                position: (*position).into(),
                target: HookTarget::Webhook {
                    url: format!("https://example.org/{position}"),
                    credential: None,
                },
            }),
            ChangeOp::Job(to) => Change::Job {
                to: *to,
                error: Some(format!("to {to}")),
                error_stack: None,
                rows_processed: 3,
                bytes_transferred: 4,
            },
        }
    }

    fn step(&self, key: StepKey, to: StepStatus, full: bool) -> Change {
        let patch = if full {
            StepPatch {
                due_at: Some(self.clock.now() + Duration::from_secs(1)),
                output: Some(json!({"to": to.as_str()})),
                artifacts: Some(vec![Artifact {
                    name: ArtifactName::new("a.csv").unwrap(),
                    uri: format!("memory:///{key}"),
                }]),
                rows_processed: Some(7),
                bytes_transferred: Some(8),
                metrics: Some(Map::from_iter([("m".into(), json!(1.5))])),
                lost: Some(1),
                returned: Some(2),
                skip_reason: Some(SkipReason::Condition),
                error_class: Some(ErrorClass::Throttled),
                error: Some(format!("{to}")),
                error_stack: Some("because".into()),
            }
        } else {
            StepPatch::default()
        };
        Change::Step {
            key,
            attempt: 1 + u32::from(full),
            to,
            patch: Box::new(patch),
        }
    }

    /// Asserts that both have the same rows.
    pub(super) async fn compare(&self) {
        let [subject, reference] = self.stores();
        let rows = [
            rows(subject, &self.jobs).await,
            rows(reference, &self.jobs).await,
        ];
        let [subject, reference] = rows;
        for (subject, reference) in subject.iter().zip(&reference) {
            assert_eq!(
                subject, reference,
                "rows of the store, and of the memory store"
            );
        }
    }
}

/// A line of a job's log.
fn said(job_id: JobId, message: &str, timestamp: Timestamp) -> LogLine {
    LogLine {
        job_id,
        seq: 0,
        step: None,
        item_index: None,
        attempt: 0,
        timestamp,
        level: LogLevel::Info,
        message: message.into(),
        metadata: Map::new(),
    }
}

/// Every row of a store, as text.
async fn rows(store: &dyn Store, jobs: &[JobId]) -> Vec<String> {
    let mut rows = Vec::new();
    for &job in jobs {
        let record = store.job(job).await.unwrap().map(without_ids);
        rows.push(format!("{record:#?}"));
        let steps = all_steps(store, job)
            .await
            .into_iter()
            .map(step_without_ids);
        rows.push(format!("{:#?}", steps.collect::<Vec<_>>()));
        rows.push(format!("{:#?}", store.dead_letters(job).await.unwrap()));
        rows.push(format!("{:#?}", store.hooks(job).await.unwrap()));
        rows.push(format!("{:#?}", store.lines(job, 0, 1000).await.unwrap()));
    }
    let page = PageRequest::first(500);
    let list = store.jobs(&JobFilter::default(), &page).await.unwrap();
    let order: Vec<_> = list.items.iter().map(|job| job.id).collect();
    rows.push(format!("{order:#?}"));
    let catalog = store.pipelines(&PipelineFilter::default(), &page).await;
    let catalog = catalog.unwrap().items.into_iter().map(stored_without_ids);
    rows.push(format!("{:#?}", catalog.collect::<Vec<_>>()));
    let waiting = store.waiting(Duration::ZERO, 1000).await.unwrap();
    rows.push(format!("{waiting:#?}"));
    rows
}
