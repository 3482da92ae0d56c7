//! One store on stage: the few words in which the cases are told.

use std::sync::Arc;
use std::time::Duration;

use super::{Facts, StoreFixture};
use crate::contract::store::{
    ClaimRequest, Claimed, LeaseState, PutPipeline, ReapRequest, Result, StoredPipeline, Submitted,
};
use crate::contract::{Clock, Store};
use crate::model::{
    By, Change, Commit, JobId, JobRecord, JobStatus, LeaseRef, NewJob, PageRequest, Pipeline,
    StepRecord, Timestamp, Verdict, WorkerId,
};
use crate::testing::ManualClock;
use crate::testing::build::{a_pipeline, a_worker, new_job};

/// A lease that does not run out during a case.
pub(super) const LONG: Duration = Duration::from_hours(1);
/// A lease that [`Scene::let_leases_end`] ends.
pub(super) const SHORT: Duration = Duration::from_millis(200);

pub(super) struct Scene {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) facts: Facts,
    pub(super) worker: WorkerId,
}

impl Scene {
    pub(super) async fn on(fixture: &dyn StoreFixture) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self {
            store: fixture.fresh(clock.clone()).await,
            clock,
            facts: fixture.facts(),
            worker: a_worker(),
        }
    }

    /// The store is stopped and started again.
    pub(super) async fn restart(self, fixture: &dyn StoreFixture) -> Self {
        let store = fixture.reopen(self.store, self.clock.clone()).await;
        Self { store, ..self }
    }

    /// So much time passes for the store.
    pub(super) async fn pass(&self, time: Duration) {
        if self.facts.follows_clock {
            self.clock.advance(time);
        } else {
            tokio::time::sleep(time).await;
        }
    }

    /// Every `SHORT` lease runs out.
    pub(super) async fn let_leases_end(&self) {
        self.pass(SHORT).await;
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Asserts a time that the store wrote, if its clock is ours.
    pub(super) fn assert_time(&self, actual: Option<Timestamp>, expected: Timestamp) {
        assert!(actual.is_some(), "no time");
        if self.facts.follows_clock {
            assert_eq!(actual, Some(expected));
        }
    }

    pub(super) async fn put(&self, document: Arc<Pipeline>) -> StoredPipeline {
        let put = PutPipeline {
            document,
            expected_version: None,
            by: By::system(),
        };
        let reference = self.store.put_pipeline(put).await.unwrap();
        let stored = self
            .store
            .pipeline_version(reference.id, reference.version)
            .await;
        stored.unwrap().unwrap()
    }

    pub(super) async fn submit(&self, job: NewJob) -> JobId {
        let id = job.id;
        assert_eq!(self.store.submit(job).await.unwrap(), Submitted::New(id));
        id
    }

    /// A pending job of a new pipeline of so many independent steps.
    pub(super) async fn a_job_of(&self, steps: usize) -> JobId {
        let pipeline = self.put(a_pipeline("p").steps(steps).build()).await;
        self.submit(new_job(&pipeline)).await
    }

    /// A job of a new pipeline of so many independent steps, in our hands.
    pub(super) async fn a_running_job_of(&self, steps: usize) -> LeaseRef {
        let job = self.a_job_of(steps).await;
        self.claim(job, LONG).await.lease
    }

    pub(super) async fn try_claim(&self, job: JobId, ttl: Duration) -> Option<Claimed> {
        let want = ClaimRequest {
            worker: self.worker,
            jobs: Some(vec![job]),
            limit: 10,
            ttl,
            tags: Vec::new(),
        };
        let mut claimed = self.store.claim(want).await.unwrap();
        assert!(claimed.len() <= 1);
        claimed.pop()
    }

    pub(super) async fn claim(&self, job: JobId, ttl: Duration) -> Claimed {
        self.try_claim(job, ttl).await.unwrap()
    }

    /// The ids of what a claim of whatever waits gives.
    pub(super) async fn claim_any(&self, limit: usize) -> Vec<JobId> {
        let want = ClaimRequest {
            worker: self.worker,
            jobs: None,
            limit,
            ttl: LONG,
            tags: Vec::new(),
        };
        let claimed = self.store.claim(want).await.unwrap();
        claimed.iter().map(|claimed| claimed.job.id).collect()
    }

    pub(super) fn commit_of(&self, lease: LeaseRef, seq: u64, changes: Vec<Change>) -> Commit {
        Commit {
            lease,
            seq,
            at: self.now(),
            lines: Vec::new(),
            changes,
        }
    }

    pub(super) async fn try_commit(
        &self,
        lease: LeaseRef,
        seq: u64,
        changes: Vec<Change>,
    ) -> Result<Verdict> {
        let commit = self.commit_of(lease, seq, changes);
        let verdicts = self.store.commit(&[commit]).await?;
        assert_eq!(verdicts.len(), 1);
        Ok(verdicts[0])
    }

    pub(super) async fn commit(&self, lease: LeaseRef, seq: u64, changes: Vec<Change>) {
        let verdict = self.try_commit(lease, seq, changes).await.unwrap();
        assert_eq!(verdict, Verdict::Applied);
    }

    pub(super) async fn renew(&self, lease: LeaseRef, ttl: Duration) -> LeaseState {
        let states = self.store.renew(self.worker, &[lease], ttl).await.unwrap();
        assert_eq!(states.len(), 1);
        states[0]
    }

    pub(super) async fn reap(&self) -> Vec<JobId> {
        let all = ReapRequest {
            job: None,
            limit: 100,
        };
        self.store.reap(all).await.unwrap()
    }

    pub(super) async fn record(&self, job: JobId) -> JobRecord {
        self.store.job(job).await.unwrap().unwrap()
    }

    pub(super) async fn status(&self, job: JobId) -> JobStatus {
        self.record(job).await.status
    }

    pub(super) async fn steps(&self, job: JobId) -> Vec<StepRecord> {
        all_steps(&*self.store, job).await
    }
}

/// Every page of a job's steps.
pub(in crate::testing) async fn all_steps(store: &dyn Store, job: JobId) -> Vec<StepRecord> {
    let mut page = PageRequest::first(500);
    let mut steps = Vec::new();
    loop {
        let answer = store.steps(job, &page).await.unwrap();
        steps.extend(answer.items);
        match answer.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return steps,
        }
    }
}
