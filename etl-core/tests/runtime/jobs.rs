//! What becomes of jobs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etl_core::contract::{Clock, Store};
use etl_core::memory::{MemoryEvents, MemoryQueue, MemoryStore};
use etl_core::model::*;
use etl_core::runtime::{Scope, Trigger};
use etl_core::sdk::RetryFrom;
use etl_core::testing::{TokioClock, new_job};
use serde_json::json;

use crate::probe::*;

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

/// On one thread, so that whoever takes all turns takes them from everybody.
#[tokio::test]
async fn a_step_that_never_stops_talking_is_stopped() {
    for floods in ["lines", "progress", "checkpoints"] {
        let (probe, _, etl) = setup();
        let mut loud = step("loud", &[], json!({ "floods": floods }));
        loud.timeout_seconds = 1;
        loud.retry_count = 0;
        let to_cancel = pipeline("c", vec![loud.clone()]);
        let cancelled = etl.start(&to_cancel, none()).await.unwrap();
        probe.until_at_once(1).await;
        etl.cancel(cancelled.id(), "enough").await.unwrap();
        let timed_out = etl.start(&pipeline("t", vec![loud]), none()).await.unwrap();
        let both = async { (cancelled.wait().await, timed_out.wait().await) };
        let both = tokio::time::timeout(Duration::from_secs(20), both).await;
        let (cancelled, timed_out) = both.unwrap_or_else(|_| panic!("{floods} go on"));
        assert_eq!(cancelled.unwrap().status(), JobStatus::Cancelled);
        assert_eq!(
            timed_out.unwrap().step("loud").unwrap().status,
            StepStatus::Timeout
        );
    }
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
    assert!(lines.iter().map(|line| line.seq).eq(1..=lines.len() as u64));
    let [_, started, said @ .., ended, _] = &lines[..] else {
        panic!("{} lines", lines.len());
    };
    assert_eq!(started.event(), Some(LogEvent::StepStarted));
    assert_eq!(ended.event(), Some(LogEvent::StepCompleted));
    assert_eq!(said.len(), 5000);
    let mut numbered = said.iter().enumerate();
    assert!(numbered.all(|(at, line)| line.message == format!("line {at}")));
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
    let line = lines.iter().find(|line| line.event().is_none());
    let message = &line.unwrap().message;
    assert!(message.len() < 17_000, "{}", message.len());
    assert!(message.ends_with("é … (1000000 bytes, cut)"));
}
