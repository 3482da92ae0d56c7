//! Laws of `commit`: which commits are taken. What their changes do is in `change`.

use serde_json::json;

use super::StoreFixture;
use super::scene::{LONG, SHORT, Scene};
use crate::contract::StoreErrorKind;
use crate::model::{
    Change, Fence, HookRow, HookTarget, JobStatus, LeaseRef, StepKey, StepStatus, Verdict, Writer,
    job_transition, step_transition,
};
use crate::testing::build::{ends, moves, succeeds};
use crate::testing::{a_pipeline, new_job};

const A: StepKey = StepKey::step(0);

pub(super) async fn a_commit_under_an_old_fence_is_lost_and_changes_nothing(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let old = scene.claim(job, SHORT).await.lease;
    scene.let_leases_end().await;
    scene.reap().await;
    let changes = || vec![moves(A, StepStatus::Running)];
    let lost = |now| Verdict::Lost { now };

    let verdict = scene.try_commit(old, 1, changes()).await.unwrap();
    assert_eq!(verdict, lost(JobStatus::Pending));
    let new = scene.claim(job, LONG).await.lease;
    let before = (scene.record(job).await, scene.steps(job).await);
    for seq in [1, 2] {
        let verdict = scene.try_commit(old, seq, changes()).await.unwrap();
        assert_eq!(verdict, lost(JobStatus::Running));
    }
    assert_eq!((scene.record(job).await, scene.steps(job).await), before);
    scene.commit(new, 1, changes()).await;
}

pub(super) async fn a_commit_sent_again_is_already_applied(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(1).await;
    let commits = [
        vec![moves(A, StepStatus::Running)],
        vec![succeeds(A, json!(7))],
        vec![ends(JobStatus::Success)],
    ];
    for (seq, changes) in (1..).zip(&commits) {
        scene.commit(lease, seq, changes.clone()).await;
        let before = (scene.record(lease.job).await, scene.steps(lease.job).await);
        let verdict = scene.try_commit(lease, seq, changes.clone()).await.unwrap();
        assert_eq!(verdict, Verdict::AlreadyApplied, "seq {seq}");
        let after = (scene.record(lease.job).await, scene.steps(lease.job).await);
        assert_eq!(before, after);
    }
    let verdict = scene.try_commit(lease, 1, commits[0].clone()).await;
    assert_eq!(verdict.unwrap(), Verdict::AlreadyApplied);
}

/// The moves that bring a pending step to each state.
fn way_to(status: StepStatus) -> &'static [StepStatus] {
    use StepStatus as S;
    match status {
        S::Pending => &[],
        S::Running => &[S::Running],
        S::Retrying => &[S::Running, S::Retrying],
        S::Success => &[S::Running, S::Success],
        S::Failed => &[S::Running, S::Failed],
        S::Timeout => &[S::Running, S::Timeout],
        S::Cancelled => &[S::Running, S::Cancelled],
        S::Skipped => &[S::Skipped],
    }
}

pub(super) async fn only_the_transitions_of_the_table_are_taken(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let states = StepStatus::ALL;
    let lease = scene.a_running_job_of(states.len().pow(2)).await;
    let mut seq = 0;
    for position in 0..states.len().pow(2) {
        let (from, to) = (
            states[position / states.len()],
            states[position % states.len()],
        );
        let key = StepKey::step(position as u32);
        let way = way_to(from).iter().map(|&to| moves(key, to)).collect();
        scene.commit(lease, seq + 1, way).await;
        seq += 1;
        let row = async || scene.steps(lease.job).await.swap_remove(position);
        let before = row().await;
        assert_eq!(before.status, from);
        let answer = scene.try_commit(lease, seq + 1, vec![moves(key, to)]).await;
        if step_transition(from, to) {
            assert_eq!(answer.unwrap(), Verdict::Applied, "{from} to {to}");
            assert_eq!(row().await.status, to);
            seq += 1;
        } else {
            let fault = answer.expect_err("an illegal move is refused");
            assert_eq!(fault.kind, StoreErrorKind::Illegal, "{from} to {to}");
            assert_eq!(row().await, before);
        }
    }
}

pub(super) async fn an_owner_makes_the_moves_that_the_table_gives_it(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    for &to in JobStatus::ALL {
        let job = scene.submit(new_job(&pipeline)).await;
        let lease = scene.claim(job, LONG).await.lease;
        let skipped = moves(A, StepStatus::Skipped);
        scene.commit(lease, 1, vec![skipped]).await;
        let before = scene.record(job).await;
        let answer = scene.try_commit(lease, 2, vec![ends(to)]).await;
        let by = job_transition(JobStatus::Running, to);
        if by.is_some_and(|by| by.contains(&Writer::Owner)) {
            assert_eq!(answer.unwrap(), Verdict::Applied, "to {to}");
            assert_eq!(scene.status(job).await, to);
        } else {
            let fault = answer.expect_err("an illegal move is refused");
            assert_eq!(fault.kind, StoreErrorKind::Illegal, "to {to}");
            assert_eq!(scene.record(job).await, before);
        }
    }
}

pub(super) async fn a_job_moves_once_in_a_commit(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(1).await;
    scene
        .commit(lease, 1, vec![moves(A, StepStatus::Skipped)])
        .await;
    for first in [JobStatus::Success, JobStatus::Pending] {
        let twice = vec![ends(first), ends(JobStatus::Failed)];
        let fault = scene.try_commit(lease, 2, twice).await;
        let fault = fault.expect_err("only one move leaves running");
        assert_eq!(fault.kind, StoreErrorKind::Illegal);
        assert_eq!(scene.status(lease.job).await, JobStatus::Running);
    }
    scene.commit(lease, 2, vec![ends(JobStatus::Failed)]).await;
}

pub(super) async fn a_gap_in_seq_is_illegal(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(1).await;
    let run = || vec![moves(A, StepStatus::Running)];
    for seq in [0, 2, u64::MAX] {
        let fault = scene.try_commit(lease, seq, run()).await;
        let fault = fault.expect_err("it is not the next");
        assert_eq!(fault.kind, StoreErrorKind::Illegal, "seq {seq}");
    }
    assert_eq!(scene.steps(lease.job).await[0].status, StepStatus::Pending);
    scene.commit(lease, 1, run()).await;
    let fault = scene.try_commit(lease, 3, run()).await;
    assert_eq!(fault.expect_err("a gap").kind, StoreErrorKind::Illegal);
}

pub(super) async fn each_claim_counts_commits_from_one(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(2).await;
    for step in 0..2 {
        let lease = scene.claim(job, LONG).await.lease;
        let run = vec![moves(StepKey::step(step), StepStatus::Running)];
        scene.commit(lease, 1, run).await;
        scene.commit(lease, 2, vec![ends(JobStatus::Pending)]).await;
    }
}

pub(super) async fn a_commit_is_known_again_after_its_job_was_handed_back(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let lease = scene.claim(job, SHORT).await.lease;
    let run = || vec![moves(A, StepStatus::Running)];
    scene.commit(lease, 1, run()).await;
    scene.let_leases_end().await;
    scene.reap().await;
    // It was applied, and the worker that asks has to know, whatever came after.
    let again = scene.try_commit(lease, 1, run()).await.unwrap();
    assert_eq!(again, Verdict::AlreadyApplied);

    let lease = scene.claim(job, LONG).await.lease;
    let back = || vec![ends(JobStatus::Pending)];
    scene.commit(lease, 1, back()).await;
    let again = scene.try_commit(lease, 1, back()).await.unwrap();
    assert_eq!(again, Verdict::AlreadyApplied);
    let next = scene.try_commit(lease, 2, run()).await.unwrap();
    let now = JobStatus::Pending;
    assert_eq!(next, Verdict::Lost { now });
    // With another claim the old fence knows nothing any more.
    scene.claim(job, LONG).await;
    let again = scene.try_commit(lease, 1, back()).await.unwrap();
    let now = JobStatus::Running;
    assert_eq!(again, Verdict::Lost { now });
}

pub(super) async fn nothing_is_committed_to_an_ended_job(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(2).build()).await;
    for &now in JobStatus::ALL.iter().filter(|status| status.is_terminal()) {
        let job = scene.submit(new_job(&pipeline)).await;
        let lease = scene.claim(job, LONG).await.lease;
        let end = vec![moves(A, StepStatus::Running), ends(now)];
        scene.commit(lease, 1, end).await;
        let before = (scene.record(job).await, scene.steps(job).await);
        for changes in [
            vec![moves(A, StepStatus::Success)],
            vec![ends(JobStatus::Failed)],
            vec![ends(JobStatus::Pending)],
            vec![],
        ] {
            let verdict = scene.try_commit(lease, 2, changes).await.unwrap();
            assert_eq!(verdict, Verdict::Lost { now });
        }
        scene.store.dispatched(&[job]).await.unwrap();
        assert_eq!(scene.try_claim(job, LONG).await, None);
        assert_eq!((scene.record(job).await, scene.steps(job).await), before);
    }
}

pub(super) async fn a_lost_commit_does_not_disturb_the_others(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let mut leases = Vec::new();
    for _ in 0..3 {
        let job = scene.submit(new_job(&pipeline)).await;
        leases.push(scene.claim(job, LONG).await.lease);
    }
    let unknown = LeaseRef {
        job: new_job(&pipeline).id,
        fence: Fence(1),
    };
    let stale = LeaseRef {
        fence: Fence(leases[1].fence.0 + 1),
        ..leases[1]
    };
    let run = |lease| scene.commit_of(lease, 1, vec![moves(A, StepStatus::Running)]);
    let batch = [
        run(leases[0]),
        run(unknown),
        run(stale),
        run(leases[0]),
        run(leases[2]),
        // Two of one job in one batch are two commits in order.
        scene.commit_of(leases[2], 2, vec![moves(A, StepStatus::Success)]),
        scene.commit_of(leases[2], 3, vec![ends(JobStatus::Success)]),
        scene.commit_of(leases[2], 4, vec![ends(JobStatus::Failed)]),
    ];
    let verdicts = scene.store.commit(&batch).await.unwrap();
    let lost = |now| Verdict::Lost { now };
    assert_eq!(
        verdicts,
        [
            Verdict::Applied,
            lost(JobStatus::Cancelled),
            lost(JobStatus::Running),
            Verdict::AlreadyApplied,
            Verdict::Applied,
            Verdict::Applied,
            Verdict::Applied,
            lost(JobStatus::Success),
        ]
    );
    for (lease, step) in leases.iter().zip([
        StepStatus::Running,
        StepStatus::Pending,
        StepStatus::Success,
    ]) {
        assert_eq!(scene.steps(lease.job).await[0].status, step);
    }
    assert_eq!(scene.store.commit(&[]).await.unwrap(), []);
}

pub(super) async fn an_illegal_change_refuses_the_whole_batch(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(4).build()).await;
    let mut leases = Vec::new();
    for _ in 0..2 {
        let job = scene.submit(new_job(&pipeline)).await;
        leases.push(scene.claim(job, LONG).await.lease);
    }
    let key = StepKey::step;
    let legal = || {
        vec![
            moves(key(0), StepStatus::Running),
            Change::Checkpoint {
                key: key(0),
                seq: 1,
                state: json!(1),
            },
            moves(key(0), StepStatus::Failed),
            Change::Bury(super::change::letter(key(0))),
            Change::Expand {
                step: 1,
                items: vec![json!(1), json!(2)],
            },
            moves(StepKey::item(1, 0), StepStatus::Running),
            moves(key(2), StepStatus::Running),
            Change::Hook(HookRow {
                position: 0,
                target: HookTarget::Webhook {
                    url: "https://example.org/".into(),
                    credential: None,
                },
            }),
            ends(JobStatus::Failed),
        ]
    };
    let mut illegal = legal();
    illegal.push(moves(key(3), StepStatus::Success));
    let look = async |job| {
        (
            scene.record(job).await,
            scene.steps(job).await,
            scene.store.dead_letters(job).await.unwrap(),
            scene.store.hooks(job).await.unwrap(),
        )
    };
    let before = [look(leases[0].job).await, look(leases[1].job).await];

    let batch = [
        scene.commit_of(leases[0], 1, legal()),
        scene.commit_of(leases[1], 1, illegal),
    ];
    let fault = scene
        .store
        .commit(&batch)
        .await
        .expect_err("one is illegal");
    assert_eq!(fault.kind, StoreErrorKind::Illegal);
    let after = [look(leases[0].job).await, look(leases[1].job).await];
    assert_eq!(after, before);
    // Nothing of it is left in the way of doing it right.
    for lease in leases {
        scene.commit(lease, 1, legal()).await;
        assert_eq!(scene.status(lease.job).await, JobStatus::Failed);
        assert_eq!(scene.store.hooks(lease.job).await.unwrap().len(), 1);
    }
}

pub(super) async fn racing_commits_of_one_lease_are_applied_once(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(20).await;
    for seq in 1..=20 {
        let step = StepKey::step(seq as u32 - 1);
        let commit = scene.commit_of(lease, seq, vec![moves(step, StepStatus::Running)]);
        let mut racers = tokio::task::JoinSet::new();
        for _ in 0..scene.facts.racers {
            let (store, commit) = (scene.store.clone(), commit.clone());
            racers.spawn(async move { store.commit(&[commit]).await.unwrap()[0] });
        }
        let verdicts = racers.join_all().await;
        let count = |wanted| {
            verdicts
                .iter()
                .filter(|&&verdict| verdict == wanted)
                .count()
        };
        assert_eq!(count(Verdict::Applied), 1);
        assert_eq!(count(Verdict::AlreadyApplied), verdicts.len() - 1);
    }
}
