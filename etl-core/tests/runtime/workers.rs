//! Workers that die, drain, lose their store, and share it with others.

use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::store::JobStore;
use etl_core::contract::{Clock, Store};
use etl_core::memory::MemoryStore;
use etl_core::model::*;
use etl_core::runtime::Scope;
use etl_core::testing::TokioClock;
use serde_json::json;

use crate::probe::*;

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
        // 30 s of patience, and the grace of an attempt for the deaf one.
        draining.shutdown().await;
        let took = clock.now().since(asked);
        assert!(took <= Duration::from_secs(41), "{took:?}");
        let record = store.job(handle.id()).await.unwrap().unwrap();
        assert_eq!(record.status, JobStatus::Pending);

        let other = builder(&probe, &clock).store(store.clone()).build();
        let outcome = handle.wait().await.unwrap();
        assert!(outcome.is_success());
        let half = outcome.step("half").unwrap();
        assert_eq!((half.attempt, half.lost, half.returned), (2, 0, 1));
        assert_eq!(probe.ran(), ["first", "half", "half"]);
        other.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_while_it_is_handed_back_ends_without_another_worker() {
    // Before its worker is told to hand back, while the step takes its time to stop, and so late that no heartbeat tells of it.
    for after in [29_000, 35_000, 39_900] {
        let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let draining = builder(&probe, &clock).store(store.clone()).build();
        let deaf = json!({ "seconds": 3000, "deaf": true });
        let steps = vec![step("deaf", &[], deaf), step("rest", &["deaf"], json!({}))];
        let handle = draining.start(&pipeline("p", steps), none()).await.unwrap();
        probe.until_at_once(1).await;
        let elsewhere = async {
            tokio::time::sleep(Duration::from_millis(after)).await;
            store.cancel(handle.id(), "no longer needed").await.unwrap()
        };
        let ((), asked) = tokio::join!(draining.shutdown(), elsewhere);
        assert_eq!(asked, JobStatus::Running);
        let record = store.job(handle.id()).await.unwrap().unwrap();
        assert_eq!(record.status, JobStatus::Cancelled, "after {after} ms");
        let steps = store.steps(handle.id(), &PageRequest::default()).await;
        let steps: Vec<_> = steps.unwrap().items.iter().map(|s| s.status).collect();
        assert_eq!(steps, [StepStatus::Cancelled, StepStatus::Skipped]);
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
