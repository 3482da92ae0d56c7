//! Laws of `start` again, `adopt`, `clear` and `settle`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::stage::{Stage, hear, until_it_runs};
use super::{ExecutorFixture, ProbeConfig};
use crate::contract::Cleared;

const GRACE: Duration = Duration::from_secs(10);

pub(super) async fn an_attempt_outlives_its_run_or_ends_with_it(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let task = stage.task(0, &ProbeConfig::Wait);
    let mut run = stage.start(task.clone(), None).await;
    until_it_runs(&mut run).await;
    drop(run);
    let adopted = stage.executor.adopt(&task.key).await.unwrap();
    assert_eq!(adopted.is_some(), stage.facts.outlives_run);
    if let Some(mut run) = adopted {
        run.cancel(GRACE).await;
        let fault = hear(&mut run).await.1.expect_err("it was stopped");
        assert_eq!(fault.message, "stopped as asked");
    } else if stage.facts.same_process {
        stage.until_ended(1).await;
    }
}

pub(super) async fn starting_what_runs_attaches_to_it(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let task = stage.task(0, &ProbeConfig::Wait);
    let mut first = stage.start(task.clone(), None).await;
    until_it_runs(&mut first).await;
    if stage.facts.outlives_run {
        // The first listener is gone, as after a lost answer.
        drop(first);
        let mut second = stage.start(task, None).await;
        second.cancel(GRACE).await;
        assert!(hear(&mut second).await.1.is_err());
    } else {
        // Each attempt belongs to whoever holds its run: nothing is left to attach to.
        drop(first);
        let mut second = stage.start(task, None).await;
        until_it_runs(&mut second).await;
        if stage.facts.same_process {
            stage.until_ended(1).await;
        }
        second.cancel(GRACE).await;
        assert!(hear(&mut second).await.1.is_err());
    }
}

pub(super) async fn adopting_starts_nothing(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let key = stage.task(0, &ProbeConfig::Wait).key;
    assert!(stage.executor.adopt(&key).await.unwrap().is_none());
    assert_eq!(stage.counts().started.load(Ordering::SeqCst), 0);
}

pub(super) async fn what_was_cleared_is_gone(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let never = stage.task(0, &ProbeConfig::Wait).key;
    assert_eq!(stage.executor.clear(&never).await.unwrap(), Cleared::Absent);

    let task = stage.task(1, &ProbeConfig::Deaf);
    let mut run = stage.start(task.clone(), None).await;
    until_it_runs(&mut run).await;
    drop(run);
    for _ in 0..2 {
        let cleared = stage.executor.clear(&task.key).await.unwrap();
        assert_eq!(cleared, Cleared::Absent);
        assert!(stage.executor.adopt(&task.key).await.unwrap().is_none());
    }
    if stage.facts.same_process {
        stage.until_ended(1).await;
    }
}

pub(super) async fn settling_is_allowed_again_and_again(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let echo = ProbeConfig::Echo { value: json!(1) };
    let task = stage.task(0, &echo);
    let mut run = stage.start(task.clone(), None).await;
    hear(&mut run).await.1.unwrap();
    for _ in 0..2 {
        stage.executor.settle(&task.key).await.unwrap();
        assert!(stage.executor.adopt(&task.key).await.unwrap().is_none());
    }
    let never = stage.task(7, &echo).key;
    stage.executor.settle(&never).await.unwrap();
}
