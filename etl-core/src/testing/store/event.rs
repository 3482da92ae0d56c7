//! Laws of a job's log as its event stream.

use serde_json::Map;

use super::StoreFixture;
use super::scene::{LONG, SHORT, Scene};
use crate::model::{
    Commit, JobId, JobStatus, LeaseRef, LogEvent, LogLevel, LogLine, StepKey, StepStatus, Verdict,
};
use crate::testing::build::{ends, moves};
use crate::testing::{a_pipeline, new_job};

fn line(message: impl Into<String>) -> LogLine {
    LogLine {
        // The commit says whose log it is.
        job_id: JobId(uuid::Uuid::nil()),
        seq: 99,
        step: Some("s0".into()),
        item_index: None,
        attempt: 1,
        timestamp: crate::model::Timestamp::from_seconds(1_704_067_200),
        level: LogLevel::Info,
        message: message.into(),
        metadata: Map::new(),
    }
}

impl Scene {
    fn commit_saying(
        &self,
        lease: LeaseRef,
        seq: u64,
        changes: Vec<crate::model::Change>,
        said: &[&str],
    ) -> Commit {
        Commit {
            lines: said.iter().map(|said| line(*said)).collect(),
            ..self.commit_of(lease, seq, changes)
        }
    }

    /// The log of a job, which has no gap: what a line tells, or else says.
    async fn said(&self, job: JobId) -> Vec<String> {
        let lines = self.store.lines(job, 0, 10_000).await.unwrap();
        let numbers = lines.iter().map(|line| line.seq);
        assert!(numbers.eq(1..=lines.len() as u64), "{lines:?}");
        assert!(lines.iter().all(|line| line.job_id == job));
        let said = lines.into_iter().map(|line| match line.event() {
            Some(event) => event.to_string(),
            None => line.message,
        });
        said.collect()
    }
}

pub(super) async fn the_lines_of_a_commit_become_true_with_it(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let (one, other) = (
        scene.a_running_job_of(1).await,
        scene.a_running_job_of(1).await,
    );
    let (running, success) = (
        moves(StepKey::step(0), StepStatus::Running),
        moves(StepKey::step(0), StepStatus::Success),
    );
    let batch = [
        scene.commit_saying(one, 1, vec![running.clone()], &["a", "b"]),
        scene.commit_saying(other, 1, vec![running], &["x"]),
        scene.commit_saying(one, 2, vec![success], &["c"]),
    ];
    assert_eq!(
        scene.store.commit(&batch).await.unwrap(),
        [Verdict::Applied; 3]
    );
    let between = LogLine {
        job_id: one.job,
        ..line("between")
    };
    scene.store.append(&[between]).await.unwrap();
    let end = scene.commit_saying(one, 3, vec![ends(JobStatus::Success)], &["d"]);
    scene.store.commit(&[end]).await.unwrap();
    assert_eq!(
        scene.said(one.job).await,
        ["job_started", "a", "b", "c", "between", "d"]
    );
    assert_eq!(scene.said(other.job).await, ["job_started", "x"]);

    let kept = scene.store.lines(one.job, 1, 1).await.unwrap();
    let expected = LogLine {
        job_id: one.job,
        seq: 2,
        ..line("a")
    };
    assert_eq!(kept, [expected]);
}

pub(super) async fn a_commit_that_is_not_applied_says_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(2).await;
    let running = |step| vec![moves(StepKey::step(step), StepStatus::Running)];
    let first = scene.commit_saying(lease, 1, running(0), &["first"]);
    for expected in [Verdict::Applied, Verdict::AlreadyApplied] {
        let verdicts = scene.store.commit(std::slice::from_ref(&first)).await;
        assert_eq!(verdicts.unwrap(), [expected]);
    }
    // The second is illegal, so that the whole batch is refused.
    let batch = [
        scene.commit_saying(lease, 2, running(1), &["good"]),
        scene.commit_saying(lease, 3, running(0), &["bad"]),
    ];
    assert!(scene.store.commit(&batch).await.is_err());
    let gap = scene.commit_saying(lease, 9, Vec::new(), &["gap"]);
    assert!(scene.store.commit(&[gap]).await.is_err());

    let returned = vec![ends(JobStatus::Pending)];
    let returned = scene.commit_saying(lease, 2, returned, &["returned"]);
    scene.store.commit(&[returned]).await.unwrap();
    scene.claim(lease.job, LONG).await;
    let lost = scene.commit_saying(lease, 3, running(1), &["lost"]);
    let verdicts = scene.store.commit(&[lost]).await.unwrap();
    assert!(matches!(verdicts[..], [Verdict::Lost { .. }]));
    assert_eq!(
        scene.said(lease.job).await,
        ["job_started", "first", "returned", "job_started"]
    );
}

pub(super) async fn a_move_that_the_store_makes_by_itself_is_told_once(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;

    // To be `queued` is no event, and what has ended is not told again.
    let waiting = scene.submit(new_job(&pipeline)).await;
    scene.store.dispatched(&[waiting]).await.unwrap();
    for _ in 0..2 {
        scene.store.cancel(waiting, "").await.unwrap();
    }
    assert_eq!(scene.said(waiting).await, ["job_cancelled"]);

    let reaped = scene.submit(new_job(&pipeline)).await;
    scene.claim(reaped, SHORT).await;
    scene.let_leases_end().await;
    for _ in 0..2 {
        scene.reap().await;
    }
    assert_eq!(scene.said(reaped).await, ["job_started", "job_returned"]);

    // The wish for its end is no event; the end is.
    scene.claim(reaped, SHORT).await;
    scene.store.cancel(reaped, "enough").await.unwrap();
    scene.let_leases_end().await;
    scene.reap().await;
    let told = [
        "job_started",
        "job_returned",
        "job_started",
        "job_cancelled",
    ];
    assert_eq!(scene.said(reaped).await, told);

    let returned = scene.submit(new_job(&pipeline)).await;
    let lease = scene.claim(returned, LONG).await.lease;
    scene.store.cancel(returned, "enough").await.unwrap();
    let commit = scene.commit_saying(lease, 1, vec![ends(JobStatus::Pending)], &["returned"]);
    scene.store.commit(&[commit]).await.unwrap();
    assert_eq!(
        scene.said(returned).await,
        ["job_started", "returned", "job_cancelled"]
    );
}

pub(super) async fn what_a_store_tells_has_the_state_and_the_time(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    scene.claim(job, SHORT).await;
    let started = scene.record(job).await.started_at;
    scene.store.cancel(job, "").await.unwrap();
    scene.let_leases_end().await;
    scene.reap().await;
    let record = scene.record(job).await;
    let lines = scene.store.lines(job, 0, 9).await.unwrap();
    let [start, end] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(start.event(), Some(LogEvent::JobStarted));
    assert_eq!(start.metadata["status"], "running");
    assert_eq!(Some(start.timestamp), started);
    assert_eq!(end.event(), Some(LogEvent::JobCancelled));
    assert_eq!(end.metadata["status"], "cancelled");
    assert_eq!(Some(end.timestamp), record.completed_at);
    assert_eq!(end.metadata["duration_ms"].as_u64(), record.duration_ms);
}

pub(super) async fn racing_commits_and_lines_leave_no_gap(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(1).await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..scene.facts.racers {
        let store = scene.store.clone();
        racers.spawn(async move {
            for _ in 0..10 {
                let said = LogLine {
                    job_id: lease.job,
                    ..line("said")
                };
                store.append(&[said]).await.unwrap();
            }
        });
    }
    for seq in 1..=10 {
        let commit = scene.commit_saying(lease, seq, Vec::new(), &["one", "two"]);
        assert_eq!(
            scene.store.commit(&[commit]).await.unwrap(),
            [Verdict::Applied]
        );
    }
    racers.join_all().await;
    let said = scene.said(lease.job).await;
    assert_eq!(said.len(), 1 + 20 + scene.facts.racers * 10);
    // The lines of a commit stand together.
    let places: Vec<_> = (0..said.len()).filter(|at| said[*at] == "one").collect();
    assert_eq!(places.len(), 10);
    assert!(places.iter().all(|at| said[at + 1] == "two"));
}
