//! Schedules that fire, that nobody fired for a while, and stretches of them that are made up for.

use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::store::{Journal, PutPipeline, StoredPipeline, Submitted};
use etl_core::contract::{Clock, Store, StoreError};
use etl_core::memory::MemoryStore;
use etl_core::model::*;
use etl_core::runtime::{Backfill, BackfillError, Intake, Scheduler};
use etl_core::testing::faults::Flaky;
use etl_core::testing::{ManualClock, TokioClock, new_job};
use serde_json::json;

use crate::probe::*;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A store under a clock that stands, with a scheduler.
struct Stage {
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    scheduler: Scheduler,
}

impl Stage {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        Self {
            scheduler: Scheduler::new(store.clone()),
            clock,
            store,
        }
    }

    async fn put(&self, pipeline: Pipeline) -> StoredPipeline {
        put(&*self.store, pipeline).await
    }

    /// Ticks until there is nothing to decide. Answers how many jobs came of it.
    async fn settle(&self) -> usize {
        let mut jobs = 0;
        loop {
            let round = self.scheduler.tick().await.unwrap();
            jobs += round.jobs;
            if round.decided == 0 {
                return jobs;
            }
        }
    }

    /// The nominal times of the jobs there are, in order.
    async fn nominals(&self) -> Vec<String> {
        nominals(&*self.store).await
    }

    /// What was decided of a pipeline's fires, the latest first: the hour, and why there is no job.
    async fn decided(&self, of: &StoredPipeline) -> Vec<(String, Option<String>)> {
        let fires = self.store.fires(of.reference.id, 5_000).await.unwrap();
        let told = fires
            .into_iter()
            .map(|fire| (short(fire.nominal), fire.reason));
        told.collect()
    }
}

async fn put(store: &dyn Store, pipeline: Pipeline) -> StoredPipeline {
    let put = PutPipeline {
        document: pipeline.into(),
        expected_version: None,
        by: By::system(),
    };
    let reference = store.put_pipeline(put).await.unwrap();
    let stored = store
        .pipeline_version(reference.id, reference.version)
        .await;
    stored.unwrap().unwrap()
}

async fn all_jobs(store: &dyn Store) -> Vec<JobRecord> {
    let mut page = PageRequest::first(500);
    let mut jobs = Vec::new();
    loop {
        let answer = Journal::jobs(store, &JobFilter::default(), &page)
            .await
            .unwrap();
        jobs.extend(answer.items);
        match answer.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return jobs,
        }
    }
}

async fn nominals(store: &dyn Store) -> Vec<String> {
    let jobs = all_jobs(store).await;
    let mut nominals: Vec<_> = jobs.iter().filter_map(|job| job.scheduled_for).collect();
    nominals.sort_unstable();
    nominals.into_iter().map(short).collect()
}

/// Day, hour and minute.
fn short(at: Timestamp) -> String {
    at.to_string()[8..16].to_owned()
}

fn scheduled(schedule: &str) -> Pipeline {
    let mut pipeline = pipeline("p", vec![step("a", &[], json!({}))]);
    pipeline.schedule = Some(schedule.into());
    pipeline
}

fn hourly(catchup: Catchup) -> Pipeline {
    Pipeline {
        catchup,
        ..scheduled("@hourly")
    }
}

#[tokio::test(start_paused = true)]
async fn two_runtimes_fire_every_due_time_once_and_run_its_job() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let runtimes = [(); 2].map(|()| {
        let builder = builder(&probe, &clock).store(store.clone());
        builder.schedules(Duration::from_secs(1)).build()
    });
    put(&*store, scheduled("*/5 * * * *")).await;
    tokio::time::sleep(HOUR + MINUTE).await;
    for etl in runtimes {
        etl.shutdown().await;
    }
    let jobs = all_jobs(&*store).await;
    assert_eq!(jobs.len(), 12);
    let nominals = nominals(&*store).await;
    assert_eq!((&*nominals[0], &*nominals[11]), ("01T00:05", "01T01:00"));
    assert!(nominals.is_sorted_by(|a, b| a < b));
    for job in &jobs {
        assert_eq!(job.status, JobStatus::Success);
        assert_eq!(job.trigger_type, TriggerType::Scheduled);
        assert_eq!(job.triggered_by, By::scheduler());
        let late = job.created_at.since(job.scheduled_for.unwrap());
        assert!(late <= Duration::from_secs(1), "{late:?}");
    }
    assert_eq!(probe.ran().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn without_a_scheduler_nothing_fires() {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let etl = builder(&probe, &clock).store(store.clone()).build();
    put(&*store, scheduled("* * * * *")).await;
    tokio::time::sleep(HOUR).await;
    etl.shutdown().await;
    assert!(all_jobs(&*store).await.is_empty());
}

#[tokio::test]
async fn answers_that_are_lost_and_schedulers_that_die_double_and_lose_nothing() {
    for seed in 0..40 {
        let stage = Stage::new();
        let all = Pipeline {
            catchup: Catchup::All,
            ..scheduled("* * * * *")
        };
        stage.put(all).await;
        let mut died = None;
        for minute in 0..30_u64 {
            stage.clock.advance(MINUTE);
            // Another one begins with nothing but the store; two work at the same time.
            let flaky = |of| {
                Arc::new(Flaky::by_seed(
                    stage.store.clone(),
                    seed * 100 + minute * 2 + of,
                ))
            };
            let schedulers = [0, 1].map(|of| Scheduler::new(flaky(of)));
            for _ in 0..3 {
                let (one, two) = tokio::join!(schedulers[0].tick(), schedulers[1].tick());
                died = one.err().or(two.err()).or(died);
            }
        }
        assert!(died.is_some(), "nothing went wrong under seed {seed}");
        stage.settle().await;
        let expected: Vec<_> = (1..=30)
            .map(|minute| format!("01T00:{minute:02}"))
            .collect();
        assert_eq!(stage.nominals().await, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn a_clock_that_is_put_back_fires_nothing_again() {
    let stage = Stage::new();
    let begin = stage.clock.now();
    stage.put(hourly(Catchup::All)).await;
    stage.clock.advance(HOUR * 3);
    assert_eq!(stage.settle().await, 3);
    stage.clock.set(begin);
    assert_eq!(stage.settle().await, 0);
    // Begun anew at the earlier time, what was decided stays decided.
    stage.put(scheduled("@daily")).await;
    stage.put(hourly(Catchup::All)).await;
    stage.clock.advance(HOUR * 4);
    assert_eq!(stage.settle().await, 1);
    assert_eq!(
        stage.nominals().await,
        ["01T01:00", "01T02:00", "01T03:00", "01T04:00"]
    );
}

#[tokio::test]
async fn catchup_says_what_becomes_of_fires_that_nobody_was_there_for() {
    for (catchup, jobs, reasons) in [
        (Catchup::None, vec![], 1),
        (Catchup::Last, vec!["01T05:00"], 1),
        (
            Catchup::All,
            vec!["01T01:00", "01T02:00", "01T03:00", "01T04:00", "01T05:00"],
            0,
        ),
    ] {
        let stage = Stage::new();
        let pipeline = stage.put(hourly(catchup)).await;
        stage.clock.advance(HOUR * 5 + MINUTE * 30);
        assert_eq!(stage.settle().await, jobs.len(), "{catchup:?}");
        assert_eq!(stage.nominals().await, jobs, "{catchup:?}");
        let decided = stage.decided(&pipeline).await;
        let left_out: Vec<_> = decided
            .iter()
            .filter(|(_, reason)| reason.is_some())
            .collect();
        assert_eq!(left_out.len(), reasons, "{catchup:?}: {decided:?}");
        for (nominal, reason) in left_out {
            assert_eq!(nominal, "01T01:00");
            assert!(
                reason
                    .as_ref()
                    .unwrap()
                    .starts_with("missed: nobody fired it in time")
            );
        }
        // From there on it goes as ever.
        stage.clock.advance(MINUTE * 31);
        assert_eq!(stage.settle().await, 1, "{catchup:?}");
        assert_eq!(stage.nominals().await.last().unwrap(), "01T06:00");
    }
}

#[tokio::test]
async fn what_was_missed_is_told_once_however_many_tell_it_and_whatever_goes_wrong() {
    for (catchup, jobs) in [
        (Catchup::None, vec![]),
        (Catchup::Last, vec!["05:00", "10:00"]),
    ] {
        for seed in 0..40 {
            let stage = Stage::new();
            let pipeline = stage.put(hourly(catchup)).await;
            for outage in 0..2 {
                stage.clock.advance(HOUR * 5 + MINUTE * 10);
                let schedulers = [0, 1, 2].map(|of| {
                    let seed = seed * 100 + outage * 3 + of;
                    Scheduler::new(Arc::new(Flaky::by_seed(stage.store.clone(), seed)))
                });
                for _ in 0..4 {
                    let [one, two, three] = &schedulers;
                    let _ = tokio::join!(one.tick(), two.tick(), three.tick());
                }
                stage.settle().await;
            }
            let mut decided = stage.decided(&pipeline).await;
            decided.retain(|(_, reason)| reason.is_some());
            let missed: Vec<_> = decided.iter().map(|(nominal, _)| &nominal[3..]).collect();
            assert_eq!(missed, ["06:00", "01:00"], "{catchup:?}, seed {seed}");
            let nominals = stage.nominals().await;
            let made: Vec<_> = nominals.iter().map(|nominal| &nominal[3..]).collect();
            assert_eq!(made, jobs, "{catchup:?}, seed {seed}");
        }
    }
}

#[tokio::test]
async fn a_fire_that_is_a_little_late_was_not_missed() {
    let stage = Stage::new();
    stage.put(hourly(Catchup::None)).await;
    stage.clock.advance(HOUR + MINUTE * 4);
    assert_eq!(stage.settle().await, 1);
    stage.clock.advance(HOUR + MINUTE * 2);
    assert_eq!(stage.settle().await, 0);
}

/// When the first fire of a pipeline that is put now starts.
async fn next_start(stage: &Stage, pipeline: &StoredPipeline) -> (Timestamp, Timestamp) {
    let schedule = stage.store.schedule(pipeline.reference.id).await;
    let schedule = schedule.unwrap().unwrap();
    (
        schedule.next_fire_at.unwrap(),
        schedule.next_start_at.unwrap(),
    )
}

#[tokio::test]
async fn a_job_of_a_spread_schedule_starts_later_and_is_of_the_nominal_time() {
    for catchup in [Catchup::None, Catchup::Last, Catchup::All] {
        let stage = Stage::new();
        let spread = Pipeline {
            start_jitter_seconds: 3600,
            ..hourly(catchup)
        };
        let pipeline = stage.put(spread).await;
        let mut nominals = Vec::new();
        for _ in 0..5 {
            let (fire, start) = next_start(&stage, &pipeline).await;
            assert!(fire < start && start < fire + HOUR);
            stage.clock.set(start - Duration::from_micros(1));
            assert_eq!(stage.settle().await, 0);
            // Late by less than what counts as missed.
            stage.clock.set(start + Duration::from_secs(1));
            assert_eq!(stage.settle().await, 1, "{catchup:?}");
            nominals.push(short(fire));
            assert_eq!(stage.nominals().await, nominals);
        }
        assert!(
            stage
                .decided(&pipeline)
                .await
                .iter()
                .all(|(_, why)| why.is_none())
        );
    }
}

#[tokio::test]
async fn what_has_come_and_does_not_start_yet_was_not_missed() {
    for catchup in [Catchup::None, Catchup::Last, Catchup::All] {
        let stage = Stage::new();
        let spread = Pipeline {
            start_jitter_seconds: 3600,
            ..hourly(catchup)
        };
        let pipeline = stage.put(spread).await;
        let (first, _) = next_start(&stage, &pipeline).await;
        // Nobody was there for three of them, and the fourth has come and does not start yet.
        let fourth = first + HOUR * 3;
        stage.clock.set(fourth);
        let jobs = match catchup {
            Catchup::None => 0,
            Catchup::Last => 1,
            Catchup::All => 3,
        };
        // The third may just have started.
        let made = stage.settle().await;
        assert!(made == jobs || (catchup == Catchup::None && made == 1));
        let (fire, start) = next_start(&stage, &pipeline).await;
        assert_eq!(fire, fourth);
        stage.clock.set(start);
        assert_eq!(stage.settle().await, 1, "{catchup:?}");
    }
}

#[tokio::test]
async fn catching_up_is_bounded() {
    let stage = Stage::new();
    let pipeline = Pipeline {
        catchup: Catchup::All,
        ..scheduled("* * * * *")
    };
    let pipeline = stage.put(pipeline).await;
    stage.clock.advance(HOUR * 48);
    assert_eq!(stage.settle().await, 1_000);
    let nominals = stage.nominals().await;
    assert_eq!((&*nominals[0], &*nominals[999]), ("02T07:21", "03T00:00"));
    let decided = stage.decided(&pipeline).await;
    assert_eq!(decided.len(), 1_001);
    let (first, reason) = decided.last().unwrap();
    assert_eq!(first, "01T00:01");
    assert!(
        reason
            .as_ref()
            .unwrap()
            .contains("none before 2024-01-02T07:21")
    );
}

#[tokio::test]
async fn a_paused_schedule_fires_nothing_and_makes_nothing_up() {
    let stage = Stage::new();
    let pipeline = stage.put(hourly(Catchup::All)).await;
    stage.store.pause(pipeline.reference.id).await.unwrap();
    stage.clock.advance(HOUR * 5);
    assert_eq!(stage.settle().await, 0);
    stage.store.resume(pipeline.reference.id).await.unwrap();
    assert_eq!(stage.settle().await, 0);
    stage.clock.advance(HOUR);
    assert_eq!(stage.settle().await, 1);
    assert_eq!(stage.nominals().await, ["01T06:00"]);
}

#[tokio::test]
async fn a_new_version_fires_from_the_next_due_time_on() {
    let stage = Stage::new();
    stage.put(hourly(Catchup::Last)).await;
    stage.clock.advance(HOUR);
    // It is due, and the version that is current when it fires makes the job.
    let mut changed = hourly(Catchup::Last);
    changed.description = Some("changed".into());
    let changed = stage.put(changed).await;
    assert_eq!(stage.settle().await, 1);
    let jobs = all_jobs(&*stage.store).await;
    assert_eq!(jobs[0].pipeline_version, changed.reference.version);
}

#[tokio::test]
async fn a_fire_over_the_limit_gives_way_as_any_other_job() {
    let stage = Stage::new();
    let limited = Pipeline {
        concurrency: Some(Concurrency {
            limit: 1,
            on_limit: OnLimit::Skip,
        }),
        ..hourly(Catchup::Last)
    };
    let pipeline = stage.put(limited).await;
    let running = new_job(&pipeline);
    let submitted = stage.store.submit(running.clone()).await.unwrap();
    assert_eq!(submitted, Submitted::New(running.id));
    stage.clock.advance(HOUR);
    assert_eq!(stage.settle().await, 1);
    let jobs = all_jobs(&*stage.store).await;
    let scheduled = jobs.iter().find(|job| job.id != running.id).unwrap();
    assert_eq!(scheduled.status, JobStatus::Cancelled);
    assert!(
        scheduled
            .cancel_requested
            .as_ref()
            .unwrap()
            .contains("concurrency limit is 1")
    );
}

#[tokio::test]
async fn a_schedule_whose_parameters_have_no_default_says_so_with_its_fire() {
    let stage = Stage::new();
    let mut pipeline = hourly(Catchup::Last);
    let schema = json!({ "type": "object", "required": ["month"], "properties": { "month": {} } });
    pipeline.parameters = schema.as_object().cloned();
    let pipeline = stage.put(pipeline).await;
    stage.clock.advance(HOUR);
    assert_eq!(stage.settle().await, 0);
    let decided = stage.decided(&pipeline).await;
    assert_eq!(decided.len(), 1);
    assert!(
        decided[0].1.as_ref().unwrap().contains("month"),
        "{decided:?}"
    );
    stage.clock.advance(HOUR);
    stage.settle().await;
    assert_eq!(stage.decided(&pipeline).await.len(), 2);
}

fn a_backfill(from: &str, to: &str) -> Backfill {
    Backfill {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        max_active: None,
        parameters: none(),
        by: By::system(),
    }
}

#[tokio::test]
async fn a_backfill_makes_a_job_for_every_fire_with_both_ends_once() -> Result<(), BackfillError> {
    let stage = Stage::new();
    let pipeline = stage.put(scheduled("0 6 * * *")).await;
    let store = Arc::new(Flaky::by_seed(stage.store.clone(), 7));
    let intake = Intake::new(store);
    let backfill = a_backfill("2023-12-01T06:00:00Z", "2023-12-10T06:00:00Z");
    // Interrupted again and again, and called again.
    let mut interrupted = 0;
    let jobs = loop {
        match backfill.submit(&intake, &pipeline).await {
            Ok(jobs) => break jobs,
            Err(BackfillError::Refused { .. }) => interrupted += 1,
            Err(other) => return Err(other),
        }
    };
    assert!(interrupted > 0 && jobs.len() == 10);
    let expected: Vec<_> = (1..=10).map(|day| format!("{day:02}T06:00")).collect();
    assert_eq!(stage.nominals().await, expected);
    for job in all_jobs(&*stage.store).await {
        assert_eq!(job.trigger_type, TriggerType::Backfill);
        assert_eq!(job.status, JobStatus::Pending);
    }
    let again = backfill
        .submit(&Intake::new(stage.store.clone()), &pipeline)
        .await?;
    assert!(again.iter().all(|job| !job.is_new));
    assert_eq!(
        again.iter().map(|job| job.job).collect::<Vec<_>>(),
        jobs.iter().map(|job| job.job).collect::<Vec<_>>()
    );

    let plain = stage.put(pipeline_without_schedule()).await;
    let refused = a_backfill("2023-12-01T06:00:00Z", "2023-12-10T06:00:00Z").fires(&plain);
    assert!(matches!(refused, Err(BackfillError::NoSchedule(_))));
    let seconds = stage.put(scheduled("* * * * * *")).await;
    let refused = a_backfill("2023-01-01T00:00:00Z", "2023-12-10T06:00:00Z").fires(&seconds);
    assert!(matches!(refused, Err(BackfillError::TooMany { .. })));
    Ok(())
}

fn pipeline_without_schedule() -> Pipeline {
    pipeline("plain", vec![step("a", &[], json!({}))])
}

#[tokio::test(start_paused = true)]
async fn a_backfill_runs_so_many_at_once_as_it_was_told() -> Result<(), StoreError> {
    let (probe, clock) = (Probe::default(), Arc::new(TokioClock::default()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let mut daily = scheduled("@daily");
    daily.steps = vec![step("a", &[], json!({ "seconds": 10 }))];
    let stored = put(&*store, daily).await;
    let backfill = Backfill {
        max_active: Some(3),
        ..a_backfill("2023-12-01T00:00:00Z", "2023-12-20T00:00:00Z")
    };
    let jobs = backfill
        .submit(&Intake::new(store.clone()), &stored)
        .await
        .unwrap();
    assert_eq!(jobs.len(), 20);
    // Half of them by one process, the rest by another after it has died.
    let first = builder(&probe, &clock).store(store.clone()).build();
    tokio::time::sleep(Duration::from_secs(35)).await;
    drop(first);
    let second = builder(&probe, &clock).store(store.clone()).build();
    for job in &jobs {
        while !store.job(job.job).await?.unwrap().status.is_terminal() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(
            store.job(job.job).await?.unwrap().status,
            JobStatus::Success
        );
    }
    second.shutdown().await;
    assert_eq!(
        probe.most_at_once.load(std::sync::atomic::Ordering::SeqCst),
        3
    );
    Ok(())
}
