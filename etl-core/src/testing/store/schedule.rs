//! Schedules: that they follow their pipelines, and that a fire is decided once and as a whole.

use std::sync::Arc;
use std::time::Duration;

use super::scene::Scene;
use super::{Spoil, StoreFixture};
use crate::contract::store::{Fire, FireOutcome, Fired, StoreErrorKind, StoredPipeline};
use crate::model::{
    JobFilter, JobStatus, NewJob, NextFire, OnLimit, PageRequest, Pipeline, PipelineId, Schedule,
    Timestamp, TriggerType,
};
use crate::schedule::next_start;
use crate::testing::build::{PipelineBuilder, a_pipeline, new_job};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn daily(name: &str) -> PipelineBuilder {
    scheduled(name, "@daily")
}

fn scheduled(name: &str, schedule: &str) -> PipelineBuilder {
    a_pipeline(name)
        .step("a")
        .with(|pipeline| pipeline.schedule = Some(schedule.into()))
}

impl Scene {
    async fn schedule(&self, id: PipelineId) -> Option<Schedule> {
        self.store.schedule(id).await.unwrap()
    }

    async fn due(&self) -> Vec<String> {
        let due = self.store.due(100).await.unwrap();
        let names = due
            .schedules
            .iter()
            .map(|due| due.pipeline.name.to_string());
        names.collect()
    }

    async fn jobs_of(&self, name: &str) -> usize {
        let filter = JobFilter {
            pipeline: Some(name.into()),
            ..JobFilter::default()
        };
        let jobs = self.store.jobs(&filter, &PageRequest::first(500)).await;
        jobs.unwrap().items.len()
    }
}

/// The next fire of a schedule, with a job.
fn fire_of(schedule: &Schedule, pipeline: &StoredPipeline) -> Fire {
    let nominal = schedule.next_fire_at.unwrap();
    let job = NewJob {
        trigger_type: TriggerType::Scheduled,
        scheduled_for: Some(nominal),
        idempotency_key: Some(format!("schedule:{}:{nominal}", schedule.pipeline.id)),
        ..new_job(pipeline)
    };
    Fire {
        schedule: schedule.pipeline.id,
        rev: schedule.rev,
        nominal,
        outcome: FireOutcome::Job(Box::new(job)),
        next: next_start(&schedule.document, schedule.pipeline.id, nominal),
    }
}

fn skipped(fire: Fire, reason: &str) -> Fire {
    let outcome = FireOutcome::Skipped(reason.into());
    Fire { outcome, ..fire }
}

fn next_of(schedule: &Schedule) -> Option<NextFire> {
    let (at, starts_at) = schedule.next_fire_at.zip(schedule.next_start_at)?;
    Some(NextFire { at, starts_at })
}

/// The first fire of a document after the store's now, where that is the test's.
fn assert_next(scene: &Scene, schedule: &Schedule) {
    let next = next_of(schedule);
    assert!(next.is_some());
    if scene.facts.follows_clock {
        let id = schedule.pipeline.id;
        assert_eq!(next, next_start(&schedule.document, id, scene.now()));
    }
}

pub(super) async fn a_schedule_comes_and_goes_with_its_pipeline(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let plain = a_pipeline("p").step("a");
    let first = scene.put(plain.clone().build()).await;
    let id = first.reference.id;
    assert_eq!(scene.schedule(id).await, None);

    let second = scene.put(daily("p").build()).await;
    let schedule = scene.schedule(id).await.unwrap();
    assert_eq!(schedule.pipeline, second.reference);
    assert_eq!(schedule.document, second.document);
    assert!(!schedule.is_paused);
    assert_eq!(schedule.last_fire_at, None);
    assert_next(&scene, &schedule);

    scene.put(plain.build()).await;
    assert_eq!(scene.schedule(id).await, None);
    let third = scene.put(daily("p").build()).await;
    assert_next(&scene, &scene.schedule(id).await.unwrap());

    let removed = scene.store.remove_pipeline("default", "p").await.unwrap();
    assert!(removed && scene.schedule(id).await.is_none());
    let all = scene
        .store
        .schedules(&PageRequest::default())
        .await
        .unwrap();
    assert_eq!(all.items, []);

    // A number under which somebody may still want to fire is not given again.
    scene.put(daily("p").build()).await;
    let back = scene.schedule(id).await.unwrap();
    assert!(back.rev > schedule.rev + 1);
    assert_eq!(back.pipeline.version, third.reference.version + 1);
}

pub(super) async fn what_is_due_is_not_lost_by_a_change_of_a_step(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let seconds = "* * * * * *";
    let first = scene.put(scheduled("p", seconds).build()).await;
    let id = first.reference.id;
    let before = scene.schedule(id).await.unwrap();
    scene.pass(Duration::from_secs(1)).await;

    // The same document is no change at all.
    scene.put(scheduled("p", seconds).build()).await;
    assert_eq!(scene.schedule(id).await, Some(before.clone()));

    let second = scene.put(scheduled("p", seconds).step("b").build()).await;
    let after = scene.schedule(id).await.unwrap();
    assert_eq!(next_of(&after), next_of(&before));
    assert_eq!(after.pipeline, second.reference);
    assert!(after.rev > before.rev);

    // Another schedule begins anew, and so does one that was inactive.
    scene.put(scheduled("p", "@yearly").build()).await;
    let yearly = scene.schedule(id).await.unwrap();
    assert_next(&scene, &yearly);
    let inactive = scheduled("p", "@yearly").with(|p| p.is_active = false);
    scene.put(inactive.build()).await;
    assert_eq!(scene.schedule(id).await.unwrap().next_fire_at, None);
    scene.put(scheduled("p", "@yearly").build()).await;
    assert_next(&scene, &scene.schedule(id).await.unwrap());
}

pub(super) async fn a_schedule_is_due_when_the_job_of_its_fire_starts(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let spread = |seconds| daily("p").with(move |p| p.start_jitter_seconds = seconds);
    let pipeline = scene.put(spread(3600).build()).await;
    let id = pipeline.reference.id;
    let schedule = scene.schedule(id).await.unwrap();
    let next = next_of(&schedule).unwrap();
    assert_next(&scene, &schedule);
    // One in a thousand would start within 4 s.
    assert!(next.starts_at > next.at && next.starts_at < next.at + HOUR);
    if scene.facts.follows_clock {
        scene.clock.set(next.at);
        assert!(scene.due().await.is_empty());
        // What is on its way is not lost by a change of a step.
        scene.put(spread(3600).step("b").build()).await;
        let still = scene.schedule(id).await.unwrap();
        assert_eq!(next_of(&still), Some(next));
        scene.clock.set(next.starts_at);
        assert_eq!(scene.due().await, ["p"]);
    }
    let schedule = scene.schedule(id).await.unwrap();
    let pipeline = scene.store.pipeline("default", "p", None).await;
    let fire = fire_of(&schedule, &pipeline.unwrap().unwrap());
    assert_eq!(scene.store.fire(fire.clone()).await.unwrap(), Fired::Fired);
    let after = scene.schedule(id).await.unwrap();
    assert_eq!(after.last_fire_at, Some(next.at));
    assert_eq!(next_of(&after), fire.next);
    assert!(scene.due().await.is_empty());
    let scene = scene.restart(fixture).await;
    assert_eq!(scene.schedule(id).await, Some(after));

    scene.put(spread(0).step("b").build()).await;
    let plain = scene.schedule(id).await.unwrap();
    assert_next(&scene, &plain);
    assert_eq!(plain.next_start_at, plain.next_fire_at);
}

pub(super) async fn what_is_due_comes_earliest_first_and_no_more_than_asked_for(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    // Put in another order than they come due.
    let late = scene.put(scheduled("late", "* * * * * *").build()).await;
    let idle = scheduled("inactive", "* * * * * *").with(|p| p.is_active = false);
    scene.put(idle.build()).await;
    scene.put(scheduled("far", "@yearly").build()).await;
    let schedule = scene.schedule(late.reference.id).await.unwrap();
    let fire = fire_of(&schedule, &late);
    let next = fire.next.map(|next| NextFire {
        starts_at: next.starts_at + Duration::from_millis(300),
        ..next
    });
    let fire = skipped(Fire { next, ..fire }, "to be later");
    assert_eq!(scene.store.fire(fire).await.unwrap(), Fired::Fired);
    let early = scene.put(scheduled("early", "* * * * * *").build()).await;
    let schedule = scene.schedule(early.reference.id).await.unwrap();
    let early_at = schedule.next_fire_at.unwrap();
    if scene.facts.follows_clock {
        assert!(scene.due().await.is_empty());
        scene.clock.set(early_at);
        assert_eq!(scene.due().await, ["early"]);
    }
    scene.pass(Duration::from_secs(3)).await;
    assert_eq!(scene.due().await.len(), 2);
    let due = scene.store.due(1).await.unwrap();
    assert_eq!(due.schedules.len(), 1);
    let first = &due.schedules[0];
    let others = scene.store.due(100).await.unwrap().schedules;
    assert!(others.is_sorted_by_key(|due| (due.next_start_at, due.pipeline.id)));
    assert_eq!(first, &others[0]);
    assert!(first.next_start_at <= Some(due.now));
    assert_eq!(scene.store.due(0).await.unwrap().schedules, []);
}

pub(super) async fn a_fire_its_job_and_the_next_fire_become_true_together(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(daily("p").build()).await;
    let id = pipeline.reference.id;
    let before = scene.schedule(id).await.unwrap();
    let fire = fire_of(&before, &pipeline);
    let FireOutcome::Job(job) = &fire.outcome else {
        unreachable!("it has a job")
    };
    assert_eq!(scene.store.fire(fire.clone()).await.unwrap(), Fired::Fired);

    let after = scene.schedule(id).await.unwrap();
    assert_eq!(next_of(&after), fire.next);
    assert_eq!(after.last_fire_at, Some(fire.nominal));
    assert!(after.rev > before.rev);
    let record = scene.record(job.id).await;
    assert_eq!(record.status, JobStatus::Pending);
    assert_eq!(record.trigger_type, TriggerType::Scheduled);
    assert_eq!(record.scheduled_for, Some(fire.nominal));
    let fires = scene.store.fires(id, 10).await.unwrap();
    assert_eq!(fires.len(), 1);
    assert_eq!(
        (fires[0].nominal, fires[0].job_id),
        (fire.nominal, Some(job.id))
    );
    scene.assert_time(Some(fires[0].created_at), scene.now());

    // It has jobs like any other: over its limit they give way.
    let limited = daily("limited").at_limit(1, OnLimit::Skip).build();
    let limited = scene.put(limited).await;
    scene.submit(new_job(&limited)).await;
    let schedule = scene.schedule(limited.reference.id).await.unwrap();
    let fire = fire_of(&schedule, &limited);
    let FireOutcome::Job(job) = &fire.outcome else {
        unreachable!("it has a job")
    };
    assert_eq!(scene.store.fire(fire.clone()).await.unwrap(), Fired::Fired);
    assert_eq!(scene.status(job.id).await, JobStatus::Cancelled);

    let scene = scene.restart(fixture).await;
    assert_eq!(scene.schedule(id).await, Some(after));
    assert_eq!(scene.store.fires(id, 10).await.unwrap(), fires);
}

pub(super) async fn a_fire_that_is_left_out_says_why(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(daily("p").build()).await;
    let id = pipeline.reference.id;
    let mut nominals = Vec::new();
    for reason in ["one", "two", "três"] {
        let schedule = scene.schedule(id).await.unwrap();
        let fire = skipped(fire_of(&schedule, &pipeline), reason);
        nominals.push(fire.nominal);
        assert_eq!(scene.store.fire(fire).await.unwrap(), Fired::Fired);
    }
    assert_eq!(scene.jobs_of("p").await, 0);
    assert_eq!(scene.schedule(id).await.unwrap().last_fire_at, None);
    let last = scene.store.fires(id, 2).await.unwrap();
    let told: Vec<_> = last
        .iter()
        .map(|fire| (fire.nominal, fire.reason.as_deref()))
        .collect();
    assert_eq!(
        told,
        [(nominals[2], Some("três")), (nominals[1], Some("two"))]
    );
    assert_eq!(last[0].job_id, None);

    // The last fire there is.
    let schedule = scene.schedule(id).await.unwrap();
    let fire = Fire {
        next: None,
        ..fire_of(&schedule, &pipeline)
    };
    assert_eq!(scene.store.fire(fire).await.unwrap(), Fired::Fired);
    assert_eq!(scene.schedule(id).await.unwrap().next_fire_at, None);
}

pub(super) async fn a_fire_under_an_old_rev_is_lost_and_changes_nothing(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(daily("p").build()).await;
    let id = pipeline.reference.id;
    let stale = async |seen: &Schedule, pipeline: &StoredPipeline| {
        let before = scene.schedule(id).await;
        let jobs = scene.jobs_of("p").await;
        let fire = fire_of(seen, pipeline);
        let later = Fire {
            nominal: fire.nominal + DAY,
            ..fire.clone()
        };
        for fire in [fire.clone(), later, skipped(fire, "no")] {
            assert_eq!(scene.store.fire(fire).await.unwrap(), Fired::Lost);
        }
        assert_eq!(scene.schedule(id).await, before);
        assert_eq!(scene.jobs_of("p").await, jobs);
    };
    let seen = scene.schedule(id).await.unwrap();
    let fired = scene.store.fire(fire_of(&seen, &pipeline)).await.unwrap();
    assert_eq!(fired, Fired::Fired);
    stale(&seen, &pipeline).await;

    let seen = scene.schedule(id).await.unwrap();
    scene.put(daily("p").step("b").build()).await;
    stale(&seen, &pipeline).await;

    let seen = scene.schedule(id).await.unwrap();
    scene.store.pause(id).await.unwrap();
    stale(&seen, &pipeline).await;
    scene.store.resume(id).await.unwrap();
    stale(&seen, &pipeline).await;

    let seen = scene.schedule(id).await.unwrap();
    scene.store.remove_pipeline("default", "p").await.unwrap();
    stale(&seen, &pipeline).await;
    scene.put(daily("p").build()).await;
    stale(&seen, &pipeline).await;
}

pub(super) async fn a_nominal_time_makes_one_job_however_often_it_comes(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(daily("p").build()).await;
    let id = pipeline.reference.id;
    let first = scene.schedule(id).await.unwrap();
    let fire = fire_of(&first, &pipeline);
    assert_eq!(scene.store.fire(fire.clone()).await.unwrap(), Fired::Fired);

    // Somebody has the same fire to decide under the rev of now, as when a clock was put back.
    for again in [fire.clone(), skipped(fire.clone(), "no")] {
        let now = scene.schedule(id).await.unwrap();
        let again = Fire {
            rev: now.rev,
            ..again
        };
        assert_eq!(scene.store.fire(again).await.unwrap(), Fired::Known);
        let after = scene.schedule(id).await.unwrap();
        assert!(after.rev > now.rev);
        assert_eq!(next_of(&after), fire.next);
    }
    assert_eq!(scene.jobs_of("p").await, 1);
    let fires = scene.store.fires(id, 10).await.unwrap();
    assert_eq!(fires.len(), 1);
    assert!(fires[0].job_id.is_some() && fires[0].reason.is_none());
}

pub(super) async fn a_fire_whose_job_is_refused_changes_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(daily("p").build()).await;
    let before = scene.schedule(pipeline.reference.id).await.unwrap();
    let mut fire = fire_of(&before, &pipeline);
    if let FireOutcome::Job(job) = &mut fire.outcome {
        job.pipeline.version = 7;
    }
    let refused = scene.store.fire(fire).await.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::NotFound);
    let id = pipeline.reference.id;
    assert_eq!(scene.schedule(id).await, Some(before));
    assert_eq!(scene.store.fires(id, 10).await.unwrap(), []);
}

pub(super) async fn a_paused_schedule_is_not_due_and_makes_nothing_up(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(scheduled("p", "* * * * * *").build()).await;
    let id = pipeline.reference.id;
    let pause = async || scene.store.pause(id).await.unwrap();
    pause().await;
    let paused = scene.schedule(id).await.unwrap();
    assert!(paused.is_paused && paused.next_fire_at.is_none() && paused.next_start_at.is_none());
    pause().await;
    assert_eq!(scene.schedule(id).await, Some(paused.clone()));
    scene.pass(Duration::from_secs(2)).await;
    assert!(scene.due().await.is_empty());

    // A new version stays paused, whatever its schedule is.
    scene
        .put(scheduled("p", "* * * * * *").step("b").build())
        .await;
    scene.put(scheduled("p", "*/2 * * * * *").build()).await;
    let still = scene.schedule(id).await.unwrap();
    assert!(still.is_paused && still.next_fire_at.is_none());

    let earliest = still.rev;
    scene.store.resume(id).await.unwrap();
    let resumed = scene.schedule(id).await.unwrap();
    assert!(!resumed.is_paused && resumed.rev > earliest);
    assert_next(&scene, &resumed);
    scene.store.resume(id).await.unwrap();
    assert_eq!(scene.schedule(id).await, Some(resumed));

    let plain = scene.put(a_pipeline("plain").step("a").build()).await;
    for id in [plain.reference.id, PipelineId(uuid::Uuid::now_v7())] {
        for refused in [scene.store.pause(id).await, scene.store.resume(id).await] {
            assert_eq!(refused.unwrap_err().kind, StoreErrorKind::NotFound);
        }
        assert_eq!(scene.schedule(id).await, None);
        assert_eq!(scene.store.fires(id, 1).await.unwrap(), []);
    }
}

pub(super) async fn schedules_are_listed_by_namespace_and_name_in_pages(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    for (namespace, name) in [("b", "x"), ("a", "y2"), ("a", "y10"), ("a-b", "a")] {
        scene.put(daily(name).in_namespace(namespace).build()).await;
        let plain = a_pipeline(&format!("{name}-plain")).in_namespace(namespace);
        scene.put(plain.step("a").build()).await;
    }
    for limit in 1..=5 {
        let mut page = PageRequest::first(limit);
        let mut names = Vec::new();
        loop {
            let answer = scene.store.schedules(&page).await.unwrap();
            assert!(answer.items.len() <= limit);
            let items = answer.items.iter();
            names.extend(items.map(|schedule| {
                format!("{}/{}", schedule.pipeline.namespace, schedule.pipeline.name)
            }));
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => break,
            }
        }
        assert_eq!(names, ["a/y10", "a/y2", "a-b/a", "b/x"], "{limit}");
    }
}

pub(super) async fn racing_schedulers_decide_a_fire_once(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline: Arc<StoredPipeline> = scene.put(daily("p").build()).await.into();
    let id = pipeline.reference.id;
    let first = scene.schedule(id).await.unwrap().next_fire_at.unwrap();
    let last = first + DAY * 4;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..scene.facts.racers {
        let (store, pipeline) = (scene.store.clone(), pipeline.clone());
        racers.spawn(async move {
            let mut fired = Vec::new();
            loop {
                let schedule = store.schedule(id).await.unwrap().unwrap();
                let nominal = schedule.next_fire_at.unwrap();
                if nominal > last {
                    return fired;
                }
                let fire = fire_of(&schedule, &pipeline);
                if store.fire(fire).await.unwrap() == Fired::Fired {
                    fired.push(nominal);
                }
            }
        });
    }
    let mut fired: Vec<Timestamp> = racers.join_all().await.into_iter().flatten().collect();
    fired.sort_unstable();
    let expected: Vec<_> = (0..5).map(|days| first + DAY * days).collect();
    assert_eq!(fired, expected);
    assert_eq!(scene.jobs_of("p").await, 5);
    assert_eq!(scene.store.fires(id, 500).await.unwrap().len(), 5);
}

/// The document that a fire is made of is the schedule's current one.
pub(super) async fn a_due_schedule_has_its_pipelines_current_version(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let document =
        |step: &str| -> Arc<Pipeline> { scheduled("p", "* * * * * *").step(step).build() };
    scene.put(document("old")).await;
    let new = scene.put(document("new")).await;
    scene
        .pass(if scene.facts.follows_clock {
            HOUR
        } else {
            Duration::from_secs(1)
        })
        .await;
    let due = scene.store.due(10).await.unwrap();
    assert_eq!(due.schedules.len(), 1);
    assert_eq!(due.schedules[0].pipeline, new.reference);
    assert_eq!(due.schedules[0].document, new.document);
    scene.store.remove_pipeline("default", "p").await.unwrap();
    assert!(scene.due().await.is_empty());
}

pub(super) async fn schedules_that_can_not_be_read_take_nobodys_place(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let seconds = "* * * * * *";
    let mut broken = Vec::new();
    for name in ["a", "b", "c"] {
        let stored = scene.put(scheduled(name, seconds).build()).await;
        let id = stored.reference.id;
        if !fixture.spoil(&scene.store, Spoil::Document(id)).await {
            return;
        }
        broken.push(id);
    }
    // They are due before it.
    scene.pass(Duration::from_secs(1)).await;
    scene.put(scheduled("healthy", seconds).build()).await;
    scene.pass(Duration::from_secs(1)).await;
    for _ in 0..3 {
        for limit in [1, 2, 100] {
            let due = scene.store.due(limit).await.unwrap().schedules;
            let names: Vec<_> = due.iter().map(|due| &*due.pipeline.name).collect();
            assert_eq!(names, ["healthy"], "at most {limit}");
        }
        scene.pass(Duration::from_millis(400)).await;
    }
    fixture.spoil(&scene.store, Spoil::Mended(broken[1])).await;
    if scene.facts.follows_clock {
        scene.pass(Duration::from_mins(10)).await;
        assert_eq!(scene.due().await, ["b", "healthy"]);
    }
}
