//! Pipelines that are started by the end of a job of another one.

use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::Store;
use etl_core::contract::store::Journal;
use etl_core::memory::MemoryStore;
use etl_core::model::*;
use etl_core::runtime::{Finisher, MAX_CHAIN, MAX_FOLLOWERS};
use etl_core::sdk::Etl;
use etl_core::testing::TokioClock;
use etl_core::testing::faults::{Fault, Flaky};
use serde_json::{Map, Value, json};

use crate::probe::*;

fn starts(name: &str, parameters: Value) -> Hook {
    serde_json::from_value(json!({"trigger_pipeline": name, "parameters": parameters})).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn with_hooks(name: &str, config: Value, on_success: Vec<Hook>, on_failure: Vec<Hook>) -> Pipeline {
    let mut pipeline = pipeline(name, vec![step("a", &[], config)]);
    pipeline.hooks.on_success = on_success;
    pipeline.hooks.on_failure = on_failure;
    pipeline
}

/// All jobs, oldest first.
async fn jobs(store: &dyn Store) -> Vec<JobRecord> {
    let page = PageRequest::first(500);
    let mut jobs = Journal::jobs(store, &JobFilter::default(), &page)
        .await
        .unwrap()
        .items;
    jobs.reverse();
    jobs
}

/// Waits until there are so many jobs and all have ended.
async fn all_ended(etl: &Etl, count: usize) -> Vec<JobRecord> {
    for _ in 0..6_000 {
        let jobs = jobs(&**etl.store()).await;
        if jobs.len() >= count && jobs.iter().all(|job| job.status.is_terminal()) {
            return jobs;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", jobs(&**etl.store()).await);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_succeeds_starts_the_pipelines_that_depend_on_it() {
    let (probe, _, etl) = setup();
    let mut publish = pipeline("publish", vec![step("send", &[], json!({}))]);
    publish.parameters = Some(object(json!({
        "type": "object",
        "properties": {"rows": {"type": "integer"}, "of": {"type": "string", "default": "all"}},
        "additionalProperties": false,
    })));
    etl.put(&publish).await.unwrap();
    let rows = json!({"rows": "{{ steps.a.rows_processed }}"});
    let first = with_hooks(
        "first",
        json!({}),
        vec![starts("publish", rows)],
        vec![starts("alarm", json!({}))],
    );
    let outcome = etl.run(&first, none()).await.unwrap();
    assert!(outcome.is_success());
    let jobs = all_ended(&etl, 2).await;
    assert_eq!(probe.ran(), ["a", "send"]);
    let (before, after) = (&jobs[0], &jobs[1]);
    assert_eq!(&*after.pipeline, "publish");
    assert_eq!(after.trigger_type, TriggerType::Pipeline);
    assert_eq!(after.triggered_by, By("pipeline:first".into()));
    assert_eq!(after.parameters, json!({"rows": 1, "of": "all"}));
    assert_eq!(after.context["after_job"], json!(before.id.to_string()));
    assert_eq!(etl.store().waiting_hooks(9).await.unwrap(), []);
    etl.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn hooks_that_can_not_be_carried_out_are_settled_and_hold_up_no_other() {
    let (probe, _, etl) = setup();
    let strict =
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let mut picky = pipeline("picky", vec![step("never", &[], json!({}))]);
    picky.parameters = Some(object(strict));
    etl.put(&picky).await.unwrap();
    etl.put(&pipeline("rescue", vec![step("r", &[], json!({}))]))
        .await
        .unwrap();
    let hooks = vec![
        starts("gone", json!({})),
        starts("picky", json!({"n": "many"})),
        starts("rescue", json!({})),
    ];
    let failing = with_hooks("failing", json!({"fails": "as told"}), vec![], hooks);
    etl.run(&failing, none()).await.unwrap();
    all_ended(&etl, 2).await;
    assert_eq!(probe.ran(), ["a", "r"]);
    assert_eq!(etl.store().waiting_hooks(9).await.unwrap(), []);
    etl.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn pipelines_that_start_one_another_in_a_circle_come_to_an_end() {
    let (_, _, etl) = setup();
    let there = with_hooks("there", json!({}), vec![starts("back", json!({}))], vec![]);
    let back = with_hooks("back", json!({}), vec![starts("there", json!({}))], vec![]);
    etl.put(&back).await.unwrap();
    etl.run(&there, none()).await.unwrap();
    let jobs = all_ended(&etl, MAX_CHAIN as usize + 1).await;
    // Time enough for more.
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(jobs.len(), MAX_CHAIN as usize + 1);
    etl.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_starts_itself_twice_does_not_fill_the_store() {
    let (_, _, etl) = setup();
    let twice = vec![starts("twins", json!({})), starts("twins", json!({}))];
    let twins = with_hooks("twins", json!({}), twice, vec![]);
    etl.run(&twins, none()).await.unwrap();
    let mut ended = 0;
    // As long as there are hooks, there are jobs to come.
    while !etl.store().waiting_hooks(1).await.unwrap().is_empty() || ended == 0 {
        ended = all_ended(&etl, 1).await.len();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let filter = JobFilter::default();
    let mut page = PageRequest::first(500);
    let mut count = 0;
    loop {
        let jobs = Journal::jobs(&**etl.store(), &filter, &page).await.unwrap();
        count += jobs.items.len();
        match jobs.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    assert!(
        (100..=1 + MAX_FOLLOWERS as usize).contains(&count),
        "{count}"
    );
    etl.shutdown().await;
}

/// A store in which so many hooks wait, each for a job of a pipeline that is there.
async fn with_waiting_hooks(count: usize) -> (Arc<dyn Store>, Etl) {
    let clock = Arc::new(TokioClock::default());
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let etl = builder(&Probe::default(), &clock)
        .store(memory.clone())
        .scope(etl_core::runtime::Scope::Own)
        .build();
    etl.put(&pipeline("next", vec![step("n", &[], json!({}))]))
        .await
        .unwrap();
    let hooks = vec![starts("next", json!({})); count];
    let first = with_hooks("first", json!({}), hooks, vec![]);
    etl.run(&first, Map::new()).await.unwrap();
    assert_eq!(memory.waiting_hooks(99).await.unwrap().len(), count);
    (memory, etl)
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_takes_long_holds_up_no_other() {
    let (memory, etl) = with_waiting_hooks(50).await;
    let slow = Fault::Slow(Duration::from_mins(1));
    let flaky = Arc::new(Flaky::by_plan(memory.clone(), [Fault::None, slow]));
    let finisher = Finisher::new(flaky);
    let began = tokio::time::Instant::now();
    let others = async {
        while memory.waiting_hooks(99).await.unwrap().len() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    };
    let (count, others) = tokio::join!(finisher.tick(), others);
    assert_eq!(count.unwrap(), 50);
    assert!(others < Duration::from_secs(1), "{others:?}");
    etl.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn finishers_that_are_interrupted_or_race_make_one_job_of_a_hook() {
    let (memory, etl) = with_waiting_hooks(2).await;

    // Each call goes wrong once: listing, reading, submitting, settling.
    for calls in 0..12 {
        let mut plan = vec![Fault::None; calls];
        plan.push(if calls % 2 == 0 {
            Fault::Unknown
        } else {
            Fault::Refused
        });
        let flaky = Arc::new(Flaky::by_plan(memory.clone(), plan));
        let _ = Finisher::new(flaky).tick().await;
    }
    let two = [Finisher::new(memory.clone()), Finisher::new(memory.clone())];
    for finisher in &two {
        finisher.tick().await.unwrap();
    }
    assert_eq!(memory.waiting_hooks(9).await.unwrap(), []);
    assert_eq!(jobs(&*memory).await.len(), 3);
    etl.shutdown().await;
}
