//! The services together, in memory, under a clock that passes by itself when there is nothing to do.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etl_core::contract::store::JobStore;
use etl_core::contract::{Clock, Connector, NoCredential, StepContext, Store};
use etl_core::memory::{MemoryEvents, MemoryQueue, MemoryStore};
use etl_core::model::*;
use etl_core::runtime::{Scope, Trigger};
use etl_core::sdk::{Etl, EtlBuilder, RetryFrom};
use etl_core::testing::faults::Flaky;
use etl_core::testing::{TokioClock, new_job};
use serde_json::{Map, Value, json};

/// Does what its configuration says, and keeps a record of who ran.
#[derive(Debug, Clone, Default)]
struct Probe {
    ran: Arc<Mutex<Vec<String>>>,
    at_once: Arc<AtomicU32>,
    most_at_once: Arc<AtomicU32>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProbeConfig {
    #[serde(default)]
    seconds: u64,
    #[serde(default)]
    panics: bool,
    #[serde(default)]
    deaf: bool,
    #[serde(default)]
    lines: u32,
    /// The length of one more line.
    #[serde(default)]
    long_line: usize,
    #[serde(default)]
    fails: Option<String>,
    #[serde(default)]
    value: Value,
}

/// Counts an attempt while it is there, also if its future is dropped.
struct AtOnce(Arc<AtomicU32>);

impl Drop for AtOnce {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connector for Probe {
    const NAME: &'static str = "probe";
    type Config = ProbeConfig;
    type Credential = NoCredential;

    async fn run(
        &self,
        config: ProbeConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        let task = ctx.task();
        let item = task
            .key
            .step
            .item
            .map(|item| format!("[{item}]"))
            .unwrap_or_default();
        self.ran
            .lock()
            .unwrap()
            .push(format!("{}{item}", task.step_name));
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let _at_once = AtOnce(self.at_once.clone());
        for line in 0..config.lines {
            ctx.info(format!("line {line}")).await;
        }
        if config.long_line > 0 {
            ctx.info("é".repeat(config.long_line / 2)).await;
        }
        assert!(!config.panics, "as told");
        let sleep = tokio::time::sleep(Duration::from_secs(config.seconds));
        if config.deaf {
            sleep.await;
        } else {
            tokio::select! {
                () = sleep => {}
                () = ctx.cancelled().cancelled() => return Err(StepError::transient("stopped")),
            }
        }
        match config.fails {
            Some(message) => Err(StepError::permanent(message)),
            None => Ok(Report::rows(1).with_output(config.value)),
        }
    }
}

impl Probe {
    fn ran(&self) -> Vec<String> {
        self.ran.lock().unwrap().clone()
    }

    /// How long it takes until so many attempts run at once.
    async fn until_at_once(&self, attempts: u32) -> Duration {
        let from = tokio::time::Instant::now();
        while self.at_once.load(Ordering::SeqCst) != attempts {
            assert!(
                from.elapsed() < Duration::from_mins(2),
                "{attempts} attempts"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        from.elapsed()
    }
}

fn long(seconds: u64) -> Pipeline {
    pipeline("p", vec![step("long", &[], json!({ "seconds": seconds }))])
}

/// A store that can be away, over one in memory.
fn a_store(clock: &Arc<TokioClock>) -> Arc<Flaky> {
    Arc::new(Flaky::by_plan(
        Arc::new(MemoryStore::new(clock.clone())),
        [],
    ))
}

fn step(name: &str, dependencies: &[&str], config: Value) -> Step {
    let mut step = Step::new(name, "probe");
    step.dependencies = dependencies.iter().map(ToString::to_string).collect();
    step.config = config;
    step
}

fn pipeline(name: &str, steps: Vec<Step>) -> Pipeline {
    Pipeline {
        steps,
        ..Pipeline::new(name)
    }
}

fn builder(probe: &Probe, clock: &Arc<TokioClock>) -> EtlBuilder {
    Etl::builder().connector(probe.clone()).clock(clock.clone())
}

fn setup() -> (Probe, Arc<TokioClock>, Etl) {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let etl = builder(&probe, &clock).build();
    (probe, clock, etl)
}

fn none() -> Map<String, Value> {
    Map::new()
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_step_alone() {
    let (_, _, etl) = setup();
    let steps = vec![
        step("bad", &[], json!({ "panics": true })),
        step("good", &[], json!({})),
    ];
    let outcome = etl.run(&pipeline("p", steps), none()).await.unwrap();
    assert_eq!(outcome.status(), JobStatus::Failed);
    assert_eq!(outcome.step("good").unwrap().status, StepStatus::Success);
    assert_eq!(
        outcome.job.error_message.as_deref(),
        Some("step \"bad\" failed: the connector panicked: as told")
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_ends_at_once_and_a_deaf_step_is_abandoned() {
    for (deaf, longest) in [(false, 1), (true, 11)] {
        let (_, clock, etl) = setup();
        let steps = vec![
            step("long", &[], json!({ "seconds": 3000, "deaf": deaf })),
            step("next", &["long"], json!({})),
        ];
        let mut handle = etl.start(&pipeline("p", steps), none()).await.unwrap();
        while let Some(event) = handle.next_event().await.unwrap() {
            if matches!(
                event.kind,
                EventKind::Step {
                    status: StepStatus::Running,
                    ..
                }
            ) {
                break;
            }
        }
        let asked = clock.now();
        assert_eq!(
            etl.cancel(handle.id(), "enough").await.unwrap(),
            JobStatus::Running
        );
        let outcome = handle.wait().await.unwrap();
        assert_eq!(outcome.status(), JobStatus::Cancelled);
        assert_eq!(outcome.job.error_message.as_deref(), Some("enough"));
        assert_eq!(outcome.step("next").unwrap().status, StepStatus::Skipped);
        assert!(
            clock.now().since(asked) <= Duration::from_secs(longest),
            "{:?}",
            clock.now().since(asked)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn another_process_can_cancel_through_the_store() {
    let (_, clock, etl) = setup();
    let handle = etl
        .start(
            &pipeline("p", vec![step("long", &[], json!({ "seconds": 3000 }))]),
            none(),
        )
        .await
        .unwrap();
    let job = handle.id();
    while etl.store().job(job).await.unwrap().unwrap().status != JobStatus::Running {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let asked = clock.now();
    JobStore::cancel(&**etl.store(), job, "from elsewhere")
        .await
        .unwrap();
    assert_eq!(handle.wait().await.unwrap().status(), JobStatus::Cancelled);
    assert!(clock.now().since(asked) <= Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn the_work_of_a_dead_worker_is_taken_up_and_what_succeeded_does_not_run_again() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let first = builder(&probe, &clock).store(store.clone()).build();
    let steps = vec![
        step("done", &[], json!({ "value": 7 })),
        step(
            "half",
            &["done"],
            json!({ "seconds": 30, "value": "{{ steps.done.output }}" }),
        ),
        step("rest", &["half"], json!({})),
    ];
    let mut handle = first.start(&pipeline("p", steps), none()).await.unwrap();
    while let Some(event) = handle.next_event().await.unwrap() {
        if matches!(&event.kind, EventKind::Step { step, status: StepStatus::Running, .. } if &**step == "half")
        {
            break;
        }
    }
    let job = handle.id();
    let died = clock.now();
    // Dropped and not shut down: it says goodbye to nobody.
    drop(first);

    let second = builder(&probe, &clock).store(store.clone()).build();
    let mut taken_at = None;
    loop {
        let record = store.job(job).await.unwrap().unwrap();
        if taken_at.is_none() && record.fence > Fence(1) {
            taken_at = Some(clock.now());
        }
        if record.status.is_terminal() {
            assert_eq!(record.status, JobStatus::Success);
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(
        taken_at.unwrap().since(died) <= Duration::from_secs(25),
        "taken up after {:?}",
        taken_at.unwrap().since(died)
    );
    assert_eq!(probe.ran(), ["done", "half", "half", "rest"]);
    let steps = store
        .steps(job, &PageRequest::first(10))
        .await
        .unwrap()
        .items;
    assert_eq!(
        (steps[1].attempt, steps[1].lost, &steps[1].output_data),
        (2, 1, &json!(7))
    );
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_step_keeps_its_lease_beside_other_workers() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let first = builder(&probe, &clock).store(store.clone()).build();
    let second = builder(&probe, &clock).store(store.clone()).build();
    let outcome = first
        .run(
            &pipeline("p", vec![step("long", &[], json!({ "seconds": 3000 }))]),
            none(),
        )
        .await
        .unwrap();
    assert!(outcome.is_success());
    assert_eq!(
        (probe.ran(), outcome.job.fence),
        (vec!["long".to_owned()], Fence(1))
    );
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_items_run_within_the_slots() {
    let (probe, _, etl) = setup();
    let mut each = step("each", &[], json!({ "value": "{{ item * 2 }}" }));
    each.for_each = Some(ForEach::Template("{{ range(10000) }}".into()));
    let sum = step(
        "sum",
        &["each"],
        json!({ "value": "{{ steps.each.output|sum }}" }),
    );
    let outcome = etl
        .run(&pipeline("p", vec![each, sum]), none())
        .await
        .unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.job.error_message);
    assert_eq!(outcome.step("sum").unwrap().output_data, json!(99_990_000));
    assert_eq!(outcome.steps.len(), 10_002);
    assert!(probe.most_at_once.load(Ordering::SeqCst) <= 8);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_at_its_limit_waits_and_loses_nothing() {
    let (probe, _, etl) = setup();
    let mut limited = pipeline("p", vec![step("s", &[], json!({ "seconds": 10 }))]);
    limited.concurrency = Some(Concurrency {
        limit: 2,
        on_limit: OnLimit::Queue,
    });
    let mut handles = Vec::new();
    for _ in 0..7 {
        handles.push(etl.start(&limited, none()).await.unwrap());
    }
    for handle in handles {
        assert!(handle.wait().await.unwrap().is_success());
    }
    assert_eq!(probe.most_at_once.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn the_highest_priority_goes_first() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let accepting = builder(&probe, &clock)
        .store(store.clone())
        .scope(Scope::Own)
        .max_jobs(0)
        .build();
    let mut jobs = Vec::new();
    for priority in [1, 9, 5, 0] {
        let mut document = pipeline(
            &format!("p{priority}"),
            vec![step(&format!("s{priority}"), &[], json!({ "seconds": 1 }))],
        );
        document.priority = priority;
        jobs.push(accepting.start(&document, none()).await.unwrap());
    }
    drop(accepting);
    let working = builder(&probe, &clock).store(store).max_jobs(1).build();
    for job in jobs {
        assert!(job.wait().await.unwrap().is_success());
    }
    assert_eq!(probe.ran(), ["s9", "s5", "s1", "s0"]);
    working.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_key_is_one_job() {
    let (probe, _, etl) = setup();
    let stored = etl
        .put(&pipeline("p", vec![step("s", &[], json!({}))]))
        .await
        .unwrap();
    let mut trigger = Trigger::new(TriggerType::Api, By::system(), none());
    trigger.idempotency_key = Some("monday".into());
    let first = etl.submit(&stored, trigger.clone()).await.unwrap();
    let second = etl.submit(&stored, trigger).await.unwrap();
    assert_eq!(first.id(), second.id());
    first.wait().await.unwrap();
    second.wait().await.unwrap();
    assert_eq!(probe.ran(), ["s"]);
}

#[tokio::test(start_paused = true)]
async fn every_line_of_a_step_is_in_the_journal_before_its_end_is() {
    let (_, _, etl) = setup();
    let outcome = etl
        .run(
            &pipeline("p", vec![step("talks", &[], json!({ "lines": 5000 }))]),
            none(),
        )
        .await
        .unwrap();
    let lines = etl.store().lines(outcome.job.id, 0, 10_000).await.unwrap();
    assert_eq!(lines.len(), 5000);
    assert!(
        lines
            .iter()
            .enumerate()
            .all(|(at, line)| line.seq == at as u64 + 1 && line.message == format!("line {at}"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_repeated_from_its_failure_takes_over_what_succeeded() {
    let (probe, _, etl) = setup();
    let mut each = step("each", &[], json!({ "value": "{{ item }}" }));
    each.for_each = Some(ForEach::Items(vec![json!("x"), json!("y")]));
    let mut document = pipeline(
        "p",
        vec![
            step("first", &[], json!({ "value": { "n": 1 } })),
            each,
            step(
                "broken",
                &["first", "each"],
                json!({ "fails": "{{ params.fault }}" }),
            ),
            step(
                "last",
                &["broken"],
                json!({ "value": ["{{ steps.first.output.n }}", "{{ steps.each.output }}"] }),
            ),
        ],
    );
    document.parameters =
        json!({ "properties": { "fault": { "type": ["string", "null"], "default": "no" } } })
            .as_object()
            .cloned();
    let failed = etl.run(&document, none()).await.unwrap();
    assert_eq!(failed.status(), JobStatus::Failed);
    // The pipeline is mended meanwhile, but a repeated job keeps its version: it fails in the same step and no other.
    let again = etl
        .retry(failed.job.id, RetryFrom::Failed, By::system())
        .await
        .unwrap()
        .wait()
        .await
        .unwrap();
    assert_eq!(
        (again.status(), again.job.retry_of, again.job.retry_attempt),
        (JobStatus::Failed, Some(failed.job.id), 1)
    );
    assert_eq!(again.step("each").unwrap().status, StepStatus::Success);
    let ran = probe.ran();
    assert_eq!(ran.iter().filter(|name| *name == "first").count(), 1);
    assert_eq!(
        ran.iter().filter(|name| name.starts_with("each")).count(),
        2
    );
    assert_eq!(ran.iter().filter(|name| *name == "broken").count(), 2);

    let whole = etl
        .retry(failed.job.id, RetryFrom::Start, By::system())
        .await
        .unwrap()
        .wait()
        .await
        .unwrap();
    assert_eq!(whole.status(), JobStatus::Failed);
    assert_eq!(
        probe.ran().iter().filter(|name| *name == "first").count(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_of_its_own_leaves_older_jobs_alone_until_one_is_resumed() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let first = builder(&probe, &clock).store(store.clone()).build();
    let old = first
        .start(
            &pipeline("old", vec![step("old", &[], json!({ "seconds": 50 }))]),
            none(),
        )
        .await
        .unwrap();
    while probe.ran().is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(first);
    tokio::time::sleep(Duration::from_mins(1)).await;

    let second = builder(&probe, &clock)
        .store(store.clone())
        .scope(Scope::Own)
        .build();
    let new = second
        .run(
            &pipeline("new", vec![step("new", &[], json!({ "seconds": 100 }))]),
            none(),
        )
        .await
        .unwrap();
    assert!(new.is_success());
    assert_eq!(
        store.job(old.id()).await.unwrap().unwrap().status,
        JobStatus::Running
    );
    assert_eq!(probe.ran(), ["old", "new"]);
    let resumed = second.resume(old.id()).await.unwrap().wait().await.unwrap();
    assert_eq!(
        (resumed.status(), resumed.job.id),
        (JobStatus::Success, old.id())
    );
    second.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_credential_fails_the_step_and_a_given_one_never_shows() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let mut with = step("s", &[], json!({}));
    with.credential = Some("bank".into());
    let etl = builder(&probe, &clock)
        .events(Arc::new(MemoryEvents::default()))
        .queue(Arc::new(MemoryQueue::default()))
        .build();
    let outcome = etl
        .run(&pipeline("p", vec![with.clone()]), none())
        .await
        .unwrap();
    assert_eq!(
        outcome.job.error_message.as_deref(),
        Some("step \"s\" failed: there is no credential \"bank\"; store it first")
    );

    let etl = builder(&probe, &clock)
        .credential("bank", json!({ "password": "hunter2" }))
        .build();
    let outcome = etl.run(&pipeline("p", vec![with]), none()).await.unwrap();
    // The connector takes none, and says so without quoting what it got.
    assert_eq!(outcome.status(), JobStatus::Failed);
    assert!(!format!("{outcome:?} {etl:?}").contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_drains_keeps_the_leases_of_what_it_still_runs() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let draining = builder(&probe, &clock).store(store.clone()).build();
    let handle = draining.start(&long(28), none()).await.unwrap();
    probe.until_at_once(1).await;
    let other = builder(&probe, &clock).store(store.clone()).build();
    draining.shutdown().await;
    let record = store.job(handle.id()).await.unwrap().unwrap();
    assert_eq!(
        (record.status, record.fence),
        (JobStatus::Success, Fence(1))
    );
    assert_eq!(probe.ran(), ["long"]);
    other.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_can_not_finish_stops_with_it() {
    for drops in [true, false] {
        let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
        let etl = builder(&probe, &clock).build();
        let deaf = json!({ "seconds": 3000, "deaf": true });
        let deaf = pipeline("p", vec![step("deaf", &[], deaf)]);
        etl.start(&deaf, none()).await.unwrap();
        probe.until_at_once(1).await;
        if drops {
            drop(etl);
        } else {
            etl.shutdown().await;
        }
        assert!(probe.until_at_once(0).await < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_draining_worker_can_not_finish_is_handed_back_and_goes_on_elsewhere() {
    for deaf in [false, true] {
        let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let draining = builder(&probe, &clock).store(store.clone()).build();
        let steps = vec![
            step("first", &[], json!({})),
            step("half", &["first"], json!({ "seconds": 50, "deaf": deaf })),
        ];
        let handle = draining.start(&pipeline("p", steps), none()).await.unwrap();
        while probe.ran().len() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let asked = clock.now();
        // 30 s of patience, and a heartbeat's time for the deaf one.
        draining.shutdown().await;
        let took = clock.now().since(asked);
        assert!(took <= Duration::from_secs(36), "{took:?}");
        let record = store.job(handle.id()).await.unwrap().unwrap();
        assert_eq!(record.status, JobStatus::Pending);

        let other = builder(&probe, &clock).store(store.clone()).build();
        let outcome = handle.wait().await.unwrap();
        assert!(outcome.is_success());
        let half = outcome.step("half").unwrap();
        assert_eq!((half.attempt, half.lost), (2, 1));
        assert_eq!(probe.ran(), ["first", "half", "half"]);
        other.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_stops_its_steps_before_their_lease_can_be_another_workers() {
    for deaf in [false, true] {
        for unheard in [0, 1, 2, 3, 4] {
            let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
            let store = a_store(&clock);
            let etl = builder(&probe, &clock).store(store.clone()).build();
            let steps = vec![
                step("long", &[], json!({ "seconds": 3000, "deaf": deaf })),
                step(
                    "bad",
                    &[],
                    json!({ "seconds": 20 + unheard, "fails": "as told" }),
                ),
            ];
            etl.start(&pipeline("p", steps), none()).await.unwrap();
            probe.until_at_once(2).await;
            probe.until_at_once(1).await;
            store.go_away();
            // The last heartbeat was sent before the store went away: its lease lasts 20 s and is trusted for 15.
            let longest = Duration::from_secs(if deaf { 20 } else { 15 });
            let took = probe.until_at_once(0).await;
            assert!(took <= longest + Duration::from_millis(100), "{took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_of_its_own_takes_its_job_up_again_after_the_store_was_away() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let store = a_store(&clock);
    let etl = builder(&probe, &clock)
        .store(store.clone())
        .scope(Scope::Own)
        .build();
    let handle = etl.start(&long(60), none()).await.unwrap();
    probe.until_at_once(1).await;
    store.go_away();
    probe.until_at_once(0).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    store.come_back();
    let outcome = handle.wait().await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.job);
    assert_eq!((outcome.job.fence, outcome.steps[0].lost), (Fence(2), 1));
    assert_eq!(probe.ran(), ["long", "long"]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_worker_finds_a_job_that_no_hint_tells_of() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let etl = builder(&probe, &clock).build();
    let hidden = pipeline("hidden", vec![step("hidden", &[], json!({}))]);
    let hidden = etl.put(&hidden).await.unwrap();
    let job = new_job(&hidden);
    etl.store().submit(job.clone()).await.unwrap();
    // Its hint was lost with the queue that had it.
    etl.store().dispatched(&[job.id]).await.unwrap();
    let busy = pipeline("busy", vec![step("busy", &[], json!({ "seconds": 1 }))]);
    for _ in 0..12 {
        assert!(etl.run(&busy, none()).await.unwrap().is_success());
    }
    let record = etl.store().job(job.id).await.unwrap().unwrap();
    assert_eq!(record.status, JobStatus::Success);
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_limited_pipelines_job_lets_the_next_one_start() {
    let (probe, clock, etl) = setup();
    let mut limited = pipeline("p", vec![step("s", &[], json!({ "seconds": 3 }))]);
    limited.concurrency = Some(Concurrency {
        limit: 1,
        on_limit: OnLimit::Queue,
    });
    let from = clock.now();
    let mut handles = Vec::new();
    for _ in 0..5 {
        handles.push(etl.start(&limited, none()).await.unwrap());
    }
    for handle in handles {
        assert!(handle.wait().await.unwrap().is_success());
    }
    let took = clock.now().since(from);
    assert!(took < Duration::from_secs(17), "{took:?}");
    assert_eq!(probe.most_at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_endless_line_is_cut_and_says_so() {
    let (_, _, etl) = setup();
    let steps = vec![step("talks", &[], json!({ "long_line": 1_000_001 }))];
    let outcome = etl.run(&pipeline("p", steps), none()).await.unwrap();
    let lines = etl.store().lines(outcome.job.id, 0, 10).await.unwrap();
    let message = &lines[0].message;
    assert!(message.len() < 17_000, "{}", message.len());
    assert!(message.ends_with("é … (1000000 bytes, cut)"));
}
