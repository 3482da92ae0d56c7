//! Laws of the journal.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, json};

use super::StoreFixture;
use super::scene::{LONG, Scene};
use crate::contract::StoreErrorKind;
use crate::model::{
    Change, Cursor, JobFilter, JobId, JobStatus, LogLevel, LogLine, PageRequest, StepKey,
    Timestamp, TriggerType,
};
use crate::testing::{a_pipeline, new_job};

fn line(job: JobId, message: impl Into<String>) -> LogLine {
    LogLine {
        job_id: job,
        seq: 0,
        step: None,
        item_index: None,
        attempt: 0,
        timestamp: Timestamp::from_seconds(1_704_067_200),
        level: LogLevel::Info,
        message: message.into(),
        metadata: Map::new(),
    }
}

pub(super) async fn lines_are_kept_in_order_and_numbered_by_job(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let (a, b) = (
        scene.submit(new_job(&pipeline)).await,
        scene.submit(new_job(&pipeline)).await,
    );
    let full = LogLine {
        step: Some("s0".into()),
        item_index: Some(7),
        attempt: 2,
        timestamp: Timestamp::from_micros(1_704_067_200_123_456),
        level: LogLevel::Error,
        message: "«naïve» 🦀\nsecond line".into(),
        metadata: Map::from_iter([("rows".into(), json!([1, null]))]),
        // What the writer says of it does not count.
        seq: 99,
        ..line(a, "")
    };
    let unknown = new_job(&pipeline).id;
    let lines = [line(a, "1"), line(b, "x"), line(unknown, "?"), full.clone()];
    scene.store.append(&lines).await.unwrap();
    scene.store.append(&[]).await.unwrap();
    scene
        .store
        .append(&[line(b, "y"), line(a, "3")])
        .await
        .unwrap();

    let kept = scene.store.lines(a, 0, 10).await.unwrap();
    let numbered = |seq, line: LogLine| LogLine { seq, ..line };
    let all = [
        numbered(1, line(a, "1")),
        numbered(2, full),
        numbered(3, line(a, "3")),
    ];
    assert_eq!(kept, all);
    let of_b = scene.store.lines(b, 1, 10).await.unwrap();
    assert_eq!(of_b, [numbered(2, line(b, "y"))]);
    assert_eq!(scene.store.lines(a, 1, 1).await.unwrap(), all[1..2]);
    assert_eq!(scene.store.lines(a, 0, 0).await.unwrap(), []);
    for after in [3, u64::MAX] {
        assert_eq!(scene.store.lines(a, after, 10).await.unwrap(), []);
    }
    assert_eq!(scene.store.lines(unknown, 0, 10).await.unwrap(), []);
}

pub(super) async fn lines_of_an_ended_job_are_kept(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    scene.store.cancel(job, "").await.unwrap();
    scene
        .store
        .append(&[line(job, "last words")])
        .await
        .unwrap();
    let lines = scene.store.lines(job, 0, 10).await.unwrap();
    let said: Vec<_> = lines.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(said, ["job cancelled", "last words"]);
}

pub(super) async fn a_log_has_no_gap_whoever_appends(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..scene.facts.racers {
        let store = scene.store.clone();
        racers.spawn(async move {
            for n in 0..20 {
                let lines = [0, 1].map(|half| line(job, format!("{racer} {}", n * 2 + half)));
                store.append(&lines).await.unwrap();
            }
        });
    }
    let count = racers.len() * 40;
    racers.join_all().await;
    let lines = scene.store.lines(job, 0, count + 1).await.unwrap();
    let seqs: Vec<_> = lines.iter().map(|line| line.seq).collect();
    assert!(seqs.into_iter().eq(1..=count as u64));
    // Each writer's own lines are in its order.
    for racer in 0..scene.facts.racers {
        let mine = lines.iter().filter_map(|line| {
            let (who, n) = line.message.split_once(' ')?;
            (who == racer.to_string()).then(|| n.parse::<usize>().unwrap())
        });
        assert!(mine.eq(0..40));
    }
}

async fn list(scene: &Scene, filter: JobFilter, limit: usize) -> Vec<JobId> {
    let mut page = PageRequest::first(limit);
    let mut jobs = Vec::new();
    loop {
        let answer = scene.store.jobs(&filter, &page).await.unwrap();
        assert!(answer.items.len() <= limit);
        jobs.extend(answer.items.iter().map(|job| job.id));
        match answer.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return jobs,
        }
    }
}

pub(super) async fn jobs_are_listed_newest_first_in_pages(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let mut jobs = Vec::new();
    for n in 0..7 {
        // Some are accepted in the same moment.
        if n % 3 == 0 {
            scene.pass(Duration::from_millis(2)).await;
        }
        jobs.push(scene.submit(new_job(&pipeline)).await);
    }
    jobs.reverse();
    for limit in 1..=8 {
        assert_eq!(list(&scene, JobFilter::default(), limit).await, jobs);
    }
    // What comes while somebody turns pages is on none of the later ones.
    let (all, page) = (JobFilter::default(), PageRequest::first(3));
    let first = scene.store.jobs(&all, &page).await.unwrap();
    scene.pass(Duration::from_millis(2)).await;
    scene.submit(new_job(&pipeline)).await;
    let rest = PageRequest {
        limit: 10,
        cursor: first.next_cursor,
    };
    let rest = scene
        .store
        .jobs(&JobFilter::default(), &rest)
        .await
        .unwrap();
    let seen = first.items.iter().chain(&rest.items).map(|job| job.id);
    assert_eq!(seen.collect::<Vec<_>>(), jobs);
    assert_eq!(rest.next_cursor, None);
}

pub(super) async fn a_list_of_jobs_can_be_restricted(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let p = scene.put(a_pipeline("p").steps(1).build()).await;
    let q = scene.put(a_pipeline("q").steps(1).build()).await;
    let mut jobs = Vec::new();
    for (pipeline, trigger) in [
        (&p, TriggerType::Manual),
        (&q, TriggerType::Api),
        (&p, TriggerType::Api),
        (&q, TriggerType::Manual),
    ] {
        let mut job = new_job(pipeline);
        job.trigger_type = trigger;
        jobs.push(scene.submit(job).await);
        scene.pass(Duration::from_millis(2)).await;
    }
    scene.claim(jobs[0], LONG).await;
    scene.store.cancel(jobs[1], "").await.unwrap();
    let created = scene.record(jobs[1]).await.created_at;
    let any = JobFilter::default;
    for (filter, expected) in [
        (
            JobFilter {
                pipeline: Some("p".into()),
                ..any()
            },
            vec![2, 0],
        ),
        (
            JobFilter {
                status: vec![JobStatus::Running, JobStatus::Cancelled],
                ..any()
            },
            vec![1, 0],
        ),
        (
            JobFilter {
                trigger_type: Some(TriggerType::Api),
                ..any()
            },
            vec![2, 1],
        ),
        (
            JobFilter {
                created_from: Some(created),
                ..any()
            },
            vec![3, 2, 1],
        ),
        (
            JobFilter {
                created_to: Some(created),
                ..any()
            },
            vec![0],
        ),
        (
            JobFilter {
                created_from: Some(created),
                created_to: Some(created),
                ..any()
            },
            vec![],
        ),
        (
            JobFilter {
                pipeline: Some("q".into()),
                status: vec![JobStatus::Pending],
                trigger_type: Some(TriggerType::Manual),
                created_from: Some(created),
                created_to: None,
            },
            vec![3],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|n: usize| jobs[n]).collect();
        for limit in [1, 10] {
            assert_eq!(list(&scene, filter.clone(), limit).await, expected);
        }
    }
}

pub(super) async fn steps_are_listed_by_position_in_pages(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let lease = scene.a_running_job_of(3).await;
    let fan = |step, count| Change::Expand {
        step,
        items: vec![json!(0); count],
    };
    scene.commit(lease, 1, vec![fan(2, 1), fan(0, 3)]).await;
    let expected = [
        StepKey::step(0),
        StepKey::item(0, 0),
        StepKey::item(0, 1),
        StepKey::item(0, 2),
        StepKey::step(1),
        StepKey::step(2),
        StepKey::item(2, 0),
    ];
    for limit in 1..=8 {
        let mut page = PageRequest::first(limit);
        let mut keys = Vec::new();
        loop {
            let answer = scene.store.steps(lease.job, &page).await.unwrap();
            assert!(answer.items.len() <= limit);
            keys.extend(answer.items.iter().map(|step| StepKey {
                step: step.order_index,
                item: step.item_index,
            }));
            match answer.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => break,
            }
        }
        assert_eq!(keys, expected, "in pages of {limit}");
    }
}

pub(super) async fn a_page_has_between_1_and_500_items(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(501).await;
    for (limit, expected) in [(0, 1), (500, 500), (501, 500), (usize::MAX, 500)] {
        let page = scene.store.steps(job, &PageRequest::first(limit)).await;
        let page = page.unwrap();
        assert_eq!(page.items.len(), expected);
        assert!(page.next_cursor.is_some());
    }
    let names: BTreeSet<_> = scene.steps(job).await.into_iter().map(|s| s.name).collect();
    assert_eq!(names.len(), 501);
}

pub(super) async fn what_is_not_there_is_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let unknown = new_job(&pipeline).id;
    let first = PageRequest::default();
    assert_eq!(scene.store.job(unknown).await.unwrap(), None);
    let steps = scene.store.steps(unknown, &first).await.unwrap();
    assert_eq!((steps.items, steps.next_cursor), (vec![], None));
    let jobs = scene.store.jobs(&JobFilter::default(), &first).await;
    let jobs = jobs.unwrap();
    assert_eq!((jobs.items, jobs.next_cursor), (vec![], None));
}

pub(super) async fn a_strange_cursor_is_not_found(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    for text in ["", "strange", "1.x", "ü.🦀", "'; --"] {
        let page = PageRequest {
            limit: 1,
            cursor: Some(Cursor(text.into())),
        };
        let fault = scene.store.jobs(&JobFilter::default(), &page).await;
        let fault = fault.expect_err("the list never gave that cursor");
        assert_eq!(fault.kind, StoreErrorKind::NotFound, "{text:?}");
        let fault = scene.store.steps(job, &page).await;
        let fault = fault.expect_err("the list never gave that cursor");
        assert_eq!(fault.kind, StoreErrorKind::NotFound, "{text:?}");
    }
    // Behind the last item there can be: no place, or one with nothing behind it.
    for text in ["0.4294967295", "4294967295.4294967295"] {
        let page = PageRequest {
            limit: 1,
            cursor: Some(Cursor(text.into())),
        };
        match scene.store.steps(job, &page).await {
            Ok(page) => assert_eq!(page.items, [], "{text}"),
            Err(fault) => assert_eq!(fault.kind, StoreErrorKind::NotFound, "{text}"),
        }
    }
}
