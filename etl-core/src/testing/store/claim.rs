//! Laws of `claim`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::StoreFixture;
use super::scene::{LONG, SHORT, Scene};
use crate::contract::store::ClaimRequest;
use crate::model::{
    Artifact, ArtifactName, Change, Fence, JobStatus, NewJob, SkipReason, StepKey, StepPatch,
    StepSnapshot, StepStatus,
};
use crate::testing::build::{a_worker, ends, moves, moves_with};
use crate::testing::{a_pipeline, new_job};

pub(super) async fn a_claim_gives_a_larger_fence(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    let mut last = Fence(0);
    for _ in 0..3 {
        let claimed = scene.claim(job, SHORT).await;
        assert!(claimed.lease.fence > last);
        assert_eq!(claimed.lease.job, job);
        assert_eq!(scene.record(job).await.fence, claimed.lease.fence);
        last = claimed.lease.fence;
        scene.let_leases_end().await;
        assert_eq!(scene.reap().await, [job]);
    }
}

pub(super) async fn the_highest_priority_comes_first_then_the_oldest(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let mut jobs = Vec::new();
    for priority in [5, 9, 0, 9, 5] {
        let mut job = new_job(&pipeline);
        job.priority = priority;
        jobs.push(scene.submit(job).await);
    }
    // A queued job stands where it stood as a pending one.
    scene.store.dispatched(&[jobs[3], jobs[4]]).await.unwrap();

    let mut claimed = Vec::new();
    for limit in [0, 1, 3, 9] {
        claimed.extend(scene.claim_any(limit).await);
    }
    assert_eq!(claimed, [jobs[1], jobs[3], jobs[0], jobs[4], jobs[2]]);
}

pub(super) async fn only_jobs_that_wait_are_claimed_and_each_once(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(scene.submit(new_job(&pipeline)).await);
    }
    let unknown = new_job(&pipeline).id;
    scene.store.dispatched(&[jobs[0]]).await.unwrap();
    scene.claim(jobs[1], LONG).await;
    scene.store.cancel(jobs[2], "").await.unwrap();

    let want = ClaimRequest {
        worker: scene.worker,
        jobs: Some(vec![
            jobs[3], unknown, jobs[0], jobs[2], jobs[0], jobs[1], jobs[3],
        ]),
        limit: 10,
        ttl: LONG,
        tags: Vec::new(),
    };
    let claimed = scene.store.claim(want.clone()).await.unwrap();
    let ids: Vec<_> = claimed.iter().map(|claimed| claimed.job.id).collect();
    assert_eq!(ids, [jobs[0], jobs[3]]);
    assert_eq!(scene.store.claim(want).await.unwrap(), []);
    assert_eq!(scene.claim_any(10).await, []);
}

pub(super) async fn the_first_claim_starts_the_job(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(1).await;
    scene.pass(Duration::from_millis(5)).await;
    let start = scene.now();
    let claimed = scene.claim(job, SHORT).await;
    scene.assert_time(Some(claimed.job.started_at), start);
    scene.assert_time(Some(claimed.expires_at), start + SHORT);
    let record = scene.record(job).await;
    assert_eq!(record.status, JobStatus::Running);
    assert_eq!(record.worker_id, Some(scene.worker));
    assert_eq!(record.started_at, Some(claimed.job.started_at));
    assert_eq!(record.lease_expires_at, Some(claimed.expires_at));

    scene.let_leases_end().await;
    scene.reap().await;
    let other = a_worker();
    let want = ClaimRequest {
        worker: other,
        jobs: None,
        limit: 1,
        ttl: LONG,
        tags: Vec::new(),
    };
    let again = scene.store.claim(want).await.unwrap().remove(0);
    assert_eq!(again.job.started_at, claimed.job.started_at);
    assert_eq!(scene.record(job).await.worker_id, Some(other));
}

pub(super) async fn a_pipeline_at_its_limit_is_passed_over(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let limited = a_pipeline("limited")
        .step("a")
        .with_limit(2)
        .with(|p| p.priority = 9);
    let limited = scene.put(limited.build()).await;
    let free = scene.put(a_pipeline("free").step("a").build()).await;
    let mut jobs = Vec::new();
    for pipeline in [&limited, &limited, &limited, &limited, &free, &free] {
        jobs.push(scene.submit(new_job(pipeline)).await);
    }

    // In one claim, and behind it for what others hold.
    assert_eq!(scene.claim_any(3).await, [jobs[0], jobs[1], jobs[4]]);
    assert_eq!(scene.try_claim(jobs[2], LONG).await, None);
    assert_eq!(scene.claim_any(10).await, [jobs[5]]);
    assert_eq!(scene.claim_any(10).await, []);

    // A new version that allows more goes by its own limit, but counts the jobs of all versions.
    let wider = scene
        .put(a_pipeline("limited").step("a").with_limit(3).build())
        .await;
    for _ in 0..2 {
        jobs.push(scene.submit(new_job(&wider)).await);
    }
    assert_eq!(scene.claim_any(10).await, [jobs[6]]);
    assert_eq!(scene.status(jobs[2]).await, JobStatus::Pending);
}

pub(super) async fn a_job_is_passed_over_at_a_limit_of_its_own(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    for document in [a_pipeline("free"), a_pipeline("limited").with_limit(3)] {
        let pipeline = scene.put(document.step("a").build()).await;
        let bounded = |max_active| NewJob {
            max_active: Some(max_active),
            ..new_job(&pipeline)
        };
        let mut jobs = Vec::new();
        for _ in 0..4 {
            jobs.push(scene.submit(bounded(2)).await);
        }
        // One of its own does not hold up others, and those that run count whatever limit they have.
        jobs.push(scene.submit(new_job(&pipeline)).await);
        assert_eq!(scene.claim_any(9).await, [jobs[0], jobs[1], jobs[4]]);
        assert_eq!(scene.try_claim(jobs[2], LONG).await, None);
        for job in &jobs[2..4] {
            scene.store.cancel(*job, "enough").await.unwrap();
        }
        // The pipeline's limit holds beside it.
        let wide = scene.submit(bounded(9)).await;
        let room = usize::from(pipeline.document.concurrency.is_none());
        assert_eq!(scene.claim_any(9).await, [wide][..room]);
        scene.store.cancel(wide, "enough").await.unwrap();
    }
}

pub(super) async fn a_claim_by_tags_passes_over_jobs_without_any_of_them(
    fixture: &dyn StoreFixture,
) {
    let scene = Scene::on(fixture).await;
    let tagged = async |name: &str, tags: &[&str], limit: Option<u32>| {
        let document = a_pipeline(name).step("a").with(|p| {
            p.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        });
        let document = match limit {
            Some(limit) => document.with_limit(limit),
            None => document,
        };
        scene.put(document.build()).await
    };
    let plain = tagged("plain", &[], None).await;
    let red = tagged("red", &["it's \"red\"", "all"], None).await;
    let blue = tagged("blue", &["blue", "all"], Some(1)).await;
    let mut jobs = Vec::new();
    for pipeline in [&plain, &red, &blue, &plain, &red, &blue] {
        jobs.push(scene.submit(new_job(pipeline)).await);
    }
    // Tags are of the version that the job is pinned to.
    let red = tagged("red", &[], None).await;
    jobs.push(scene.submit(new_job(&red)).await);

    let claim = async |jobs: Option<Vec<_>>, tags: &[&str], limit| {
        let want = ClaimRequest {
            worker: scene.worker,
            jobs,
            limit,
            ttl: LONG,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        };
        let claimed = scene.store.claim(want).await.unwrap();
        claimed
            .iter()
            .map(|claimed| claimed.job.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(claim(None, &["RED", "blue,all", ""], 9).await, []);
    assert_eq!(
        claim(Some(jobs.clone()), &["it's \"red\""], 1).await,
        [jobs[1]]
    );
    assert_eq!(
        claim(None, &["blue", "it's \"red\""], 2).await,
        [jobs[2], jobs[4]]
    );
    // The other blue one waits for its pipeline, and tags change nothing about that.
    assert_eq!(claim(None, &["all"], 9).await, []);
    assert_eq!(claim(None, &[], 9).await, [jobs[0], jobs[3], jobs[6]]);
}

pub(super) async fn the_end_of_a_job_makes_room_under_the_limit(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let limited = scene
        .put(a_pipeline("p").step("a").with_limit(1).build())
        .await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(scene.submit(new_job(&limited)).await);
    }
    let lease = scene.claim(jobs[0], LONG).await.lease;
    assert_eq!(scene.claim_any(9).await, []);
    let skipped = moves(StepKey::step(0), StepStatus::Skipped);
    scene
        .commit(lease, 1, vec![skipped, ends(JobStatus::Success)])
        .await;

    // The one after it is handed back by its owner, and the next by the reaper.
    let lease = scene.claim(jobs[1], LONG).await.lease;
    assert_eq!(scene.try_claim(jobs[2], LONG).await, None);
    scene.commit(lease, 1, vec![ends(JobStatus::Pending)]).await;
    let lease = scene.claim(jobs[2], SHORT).await.lease;
    assert_eq!(scene.try_claim(jobs[1], LONG).await, None);
    scene.store.cancel(jobs[2], "").await.unwrap();
    assert_eq!(scene.try_claim(jobs[1], LONG).await, None);
    scene.let_leases_end().await;
    assert_eq!(scene.reap().await, [lease.job]);
    assert_eq!(scene.claim_any(9).await, [jobs[1]]);
    assert_eq!(scene.claim_any(9).await, []);
}

pub(super) async fn the_snapshot_has_everything_that_is_past_pending(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let job = scene.a_job_of(6).await;
    let lease = scene.claim(job, SHORT).await.lease;
    let key = StepKey::step;
    let due = scene.now() + Duration::from_mins(1);
    let artifact = Artifact {
        name: ArtifactName::new("raw.parquet").unwrap(),
        uri: "memory:///jobs/1/raw.parquet".into(),
    };
    let success = StepPatch {
        output: Some(json!({"n": 1})),
        artifacts: Some(vec![artifact.clone()]),
        rows_processed: Some(5),
        bytes_transferred: Some(50),
        ..StepPatch::default()
    };
    let retrying = StepPatch {
        due_at: Some(due),
        lost: Some(1),
        returned: Some(2),
        error: Some("no".into()),
        ..StepPatch::default()
    };
    let skipped = StepPatch {
        skip_reason: Some(SkipReason::Condition),
        ..StepPatch::default()
    };
    let checkpoint = |step, seq, state| Change::Checkpoint {
        key: key(step),
        seq,
        state,
    };
    let items = vec![json!("x"), json!({"y": 1})];
    scene
        .commit(
            lease,
            1,
            vec![
                moves(key(0), StepStatus::Running),
                checkpoint(0, 1, json!("forgotten with the end")),
                moves_with(key(0), StepStatus::Success, success),
                moves(key(1), StepStatus::Running),
                checkpoint(1, 1, json!(1)),
                checkpoint(1, 4, json!({"at": 4})),
                moves_with(key(1), StepStatus::Retrying, retrying),
                moves_with(key(2), StepStatus::Skipped, skipped),
                Change::Expand {
                    step: 3,
                    items: items.clone(),
                },
                moves(StepKey::item(3, 1), StepStatus::Running),
                moves(key(5), StepStatus::Running),
            ],
        )
        .await;
    scene.let_leases_end().await;
    scene.reap().await;

    let empty = |key, status| StepSnapshot {
        key,
        status,
        attempt: 1,
        lost: 0,
        returned: 0,
        due_at: None,
        items: None,
        output: json!(null),
        artifacts: vec![],
        rows_processed: 0,
        bytes_transferred: 0,
        skip_reason: None,
        checkpoint: None,
    };
    let expected = [
        StepSnapshot {
            output: json!({"n": 1}),
            artifacts: vec![artifact],
            rows_processed: 5,
            bytes_transferred: 50,
            ..empty(key(0), StepStatus::Success)
        },
        StepSnapshot {
            lost: 1,
            returned: 2,
            due_at: Some(due),
            checkpoint: Some((4, json!({"at": 4}))),
            ..empty(key(1), StepStatus::Retrying)
        },
        StepSnapshot {
            skip_reason: Some(SkipReason::Condition),
            ..empty(key(2), StepStatus::Skipped)
        },
        StepSnapshot {
            attempt: 0,
            items: Some(items),
            ..empty(key(3), StepStatus::Running)
        },
        empty(StepKey::item(3, 1), StepStatus::Running),
        empty(key(5), StepStatus::Running),
    ];
    let snapshot = scene.claim(job, LONG).await.job;
    assert_eq!(snapshot.steps, expected);
}

pub(super) async fn two_claimers_never_get_the_same_job(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").step("a").build()).await;
    let mut jobs = BTreeSet::new();
    for _ in 0..40 {
        jobs.insert(scene.submit(new_job(&pipeline)).await);
    }
    let named = jobs.iter().copied().collect::<Vec<_>>();

    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..scene.facts.racers {
        let (store, named) = (scene.store.clone(), named.clone());
        racers.spawn(async move {
            let mut got = Vec::new();
            loop {
                let want = ClaimRequest {
                    worker: a_worker(),
                    jobs: (racer % 2 == 0).then(|| named.clone()),
                    limit: 3,
                    ttl: LONG,
                    tags: Vec::new(),
                };
                let claimed = store.claim(want).await.unwrap();
                if claimed.is_empty() {
                    return got;
                }
                got.extend(claimed.iter().map(|claimed| claimed.job.id));
            }
        });
    }
    let mut got = racers.join_all().await.concat();
    got.sort_unstable();
    assert_eq!(got, named);
}

pub(super) async fn racing_claimers_keep_the_limit(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let limited = scene
        .put(a_pipeline("p").step("a").with_limit(3).build())
        .await;
    for _ in 0..20 {
        scene.submit(new_job(&limited)).await;
    }
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..scene.facts.racers {
        let store = scene.store.clone();
        racers.spawn(async move {
            let want = ClaimRequest {
                worker: a_worker(),
                jobs: None,
                limit: 2,
                ttl: LONG,
                tags: Vec::new(),
            };
            store.claim(want).await.unwrap().len()
        });
    }
    let claimed: usize = racers.join_all().await.iter().sum();
    // One that found the way barred may come back empty; what is never allowed is a fourth.
    assert!(claimed <= 3, "{claimed} run under a limit of 3");
    let rest = scene.claim_any(20).await.len();
    assert_eq!(claimed + rest, 3);
}
