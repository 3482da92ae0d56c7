//! Laws of `cancel`, and of giving up a `Run`.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::stage::{Stage, hear, until_it_runs};
use super::{ExecutorFixture, ProbeConfig};
use crate::model::StepEvent;

pub(super) async fn an_attempt_that_listens_ends_when_it_is_asked(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let mut run = stage.start(stage.task(0, &ProbeConfig::Wait), None).await;
    until_it_runs(&mut run).await;
    let asked = Instant::now();
    // It need not be asked with force: it ends long before the grace does.
    run.cancel(Duration::from_hours(1)).await;
    run.cancel(Duration::from_hours(1)).await;
    let fault = hear(&mut run).await.1.expect_err("it was stopped");
    assert_eq!(fault.message, "stopped as asked");
    assert!(asked.elapsed() < Duration::from_secs(10));
}

pub(super) async fn an_attempt_that_does_not_listen_is_stopped(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let mut run = stage.start(stage.task(0, &ProbeConfig::Deaf), None).await;
    until_it_runs(&mut run).await;
    let asked = Instant::now();
    let grace = Duration::from_millis(100);
    run.cancel(grace).await;
    let (_, result) = hear(&mut run).await;
    assert!(result.is_err());
    assert!(asked.elapsed() >= grace);
    if stage.facts.same_process {
        assert_eq!(stage.counts().ended.load(Ordering::SeqCst), 1);
    }
}

pub(super) async fn an_attempt_that_never_stops_talking_is_stopped(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let flood = ProbeConfig::Flood { lines: u64::MAX };
    let mut run = stage.start(stage.task(0, &flood), None).await;
    until_it_runs(&mut run).await;
    run.cancel(Duration::from_millis(100)).await;
    let mut result = None;
    let listening = async {
        while let Some(event) = run.next().await {
            if let StepEvent::Result(of) = event {
                result = Some(of);
            }
            // A listener that is slower than what it listens to.
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), listening).await;
    ended.expect("it goes on talking");
    assert!(result.expect("it has a result").is_err());
}

pub(super) async fn an_attempt_that_blocks_its_thread_is_given_up(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let mut run = stage.start(stage.task(0, &ProbeConfig::Block), None).await;
    until_it_runs(&mut run).await;
    run.cancel(Duration::from_millis(100)).await;
    let (_, result) = hear(&mut run).await;
    assert!(result.is_err());
    // Lets the thread go, if it is one of ours.
    stage.counts().released.store(true, Ordering::SeqCst);
}

pub(super) async fn an_attempt_can_be_stopped_before_it_is_heard(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let mut run = stage.start(stage.task(0, &ProbeConfig::Wait), None).await;
    run.cancel(Duration::from_secs(1)).await;
    let (_, result) = hear(&mut run).await;
    assert!(result.is_err());
}

pub(super) async fn an_attempt_that_has_ended_can_be_stopped_in_vain(
    fixture: &dyn ExecutorFixture,
) {
    let stage = Stage::on(fixture).await;
    let echo = ProbeConfig::Echo {
        value: serde_json::json!(1),
    };
    let mut run = stage.start(stage.task(0, &echo), None).await;
    hear(&mut run).await.1.unwrap();
    run.cancel(Duration::ZERO).await;
    assert!(run.next().await.is_none());
}

pub(super) async fn attempts_are_stopped_one_by_one(fixture: &dyn ExecutorFixture) {
    let stage = Stage::on(fixture).await;
    let mut runs = Vec::new();
    for step in 0..3 {
        let mut run = stage
            .start(stage.task(step, &ProbeConfig::Wait), None)
            .await;
        until_it_runs(&mut run).await;
        runs.push(run);
    }
    for (stopped, run) in (1..).zip(&mut runs) {
        run.cancel(Duration::from_secs(10)).await;
        assert!(hear(run).await.1.is_err());
        if stage.facts.same_process {
            assert_eq!(stage.counts().ended.load(Ordering::SeqCst), stopped);
        }
    }
}
