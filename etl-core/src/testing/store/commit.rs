//! Laws of `commit`.

use serde_json::json;

use super::StoreFixture;
use super::scene::{LONG, SHORT, Scene};
use crate::contract::StoreErrorKind;
use crate::model::{JobStatus, StepKey, StepStatus, Verdict, step_transition};
use crate::testing::build::{ends, moves, succeeds};

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
