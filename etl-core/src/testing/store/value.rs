//! Laws of what is kept: whatever goes in comes out the same, also after a restart.

use serde_json::{Map, Value, json};

use super::StoreFixture;
use super::scene::{LONG, SHORT, Scene};
use crate::contract::store::{LeaseState, Submitted};
use crate::model::{
    Change, JobStatus, LogLevel, LogLine, MAX_JSON_BYTES, StepKey, StepPatch, StepStatus, Verdict,
};
use crate::testing::a_pipeline;
use crate::testing::build::{ends, moves, moves_with, new_job, succeeds};

const A: StepKey = StepKey::step(0);

/// What has been mistaken for something else before.
fn awkward() -> Value {
    json!({
        "integers": [0, -1, i64::MIN, i64::MAX, u64::MAX],
        "floats": [0.5, -1.25e10, 1e300],
        "words": ["", " ", "null", "1", "é", "e\u{301}", "日本語", "🦀", "\u{202e}rtl", "a\"b\\c\n\t", "'; --"],
        "empty": [{}, [], null, false],
        "": {"key with spaces": {"ключ": [[[[]]]]}},
    })
}

pub(super) async fn awkward_values_come_back_equal(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let mut job = new_job(&pipeline);
    job.parameters = awkward();
    job.context = Map::from_iter([("odd".into(), awkward())]);
    job.triggered_by.0 = "Zoë 🦀".into();
    job.idempotency_key = Some("clé ✓ '\"".into());
    let again = job.clone();
    let id = scene.submit(job).await;
    let again = scene.store.submit(again).await.unwrap();
    assert_eq!(again, Submitted::Existing(id));

    let claimed = scene.claim(id, LONG).await;
    assert_eq!(*claimed.job.parameters, awkward());
    assert_eq!(claimed.job.context["odd"], awkward());
    let lease = claimed.lease;
    let success = StepPatch {
        output: Some(awkward()),
        metrics: Some(Map::from_iter([("ü".into(), json!(1.5))])),
        error: Some("«naïve» 🦀\n".into()),
        rows_processed: Some(i64::MAX as u64),
        ..StepPatch::default()
    };
    let changes = vec![
        moves(A, StepStatus::Running),
        Change::Checkpoint {
            key: A,
            seq: i64::MAX as u64,
            state: awkward(),
        },
        moves_with(A, StepStatus::Retrying, success),
        ends(JobStatus::Pending),
    ];
    scene.commit(lease, 1, changes).await;
    let record = scene.record(id).await;
    assert_eq!(record.parameters, awkward());
    assert_eq!(record.triggered_by.0, "Zoë 🦀");
    let step = scene.steps(id).await.remove(0);
    assert_eq!(step.output_data, awkward());
    assert_eq!(step.metrics["ü"], json!(1.5));
    assert_eq!(step.error_message.as_deref(), Some("«naïve» 🦀\n"));
    assert_eq!(step.rows_processed, i64::MAX as u64);
    let snapshot = scene.claim(id, LONG).await.job.steps.remove(0);
    assert_eq!(snapshot.output, awkward());
    assert_eq!(snapshot.checkpoint, Some((i64::MAX as u64, awkward())));
}

pub(super) async fn the_largest_values_are_kept(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(1).build()).await;
    let large = Value::from("é".repeat(MAX_JSON_BYTES / 2 - 1));
    assert_eq!(large.to_string().len(), MAX_JSON_BYTES);
    let mut job = new_job(&pipeline);
    job.parameters = large.clone();
    let id = scene.submit(job).await;
    let lease = scene.claim(id, LONG).await.lease;
    let done = vec![
        moves(A, StepStatus::Running),
        succeeds(A, large.clone()),
        ends(JobStatus::Pending),
    ];
    scene.commit(lease, 1, done).await;

    assert_eq!(scene.steps(id).await[0].output_data, large);
    let snapshot = scene.claim(id, LONG).await.job;
    assert_eq!(*snapshot.parameters, large);
    assert_eq!(snapshot.steps[0].output, large);
}

pub(super) async fn nothing_is_forgotten_by_a_restart(fixture: &dyn StoreFixture) {
    let scene = Scene::on(fixture).await;
    let pipeline = scene.put(a_pipeline("p").steps(3).build()).await;
    let mut keyed = new_job(&pipeline);
    keyed.idempotency_key = Some("k".into());
    let pending = scene.submit(keyed.clone()).await;
    let queued = scene.submit(new_job(&pipeline)).await;
    scene.store.dispatched(&[queued]).await.unwrap();
    let ended = scene.submit(new_job(&pipeline)).await;
    scene.store.cancel(ended, "not today").await.unwrap();
    let running = scene.submit(new_job(&pipeline)).await;
    let lease = scene.claim(running, SHORT).await.lease;
    let first = || {
        vec![
            moves(A, StepStatus::Running),
            Change::Expand {
                step: 1,
                items: vec![json!(1), json!("two")],
            },
        ]
    };
    scene.commit(lease, 1, first()).await;
    let line = LogLine {
        job_id: running,
        seq: 0,
        step: Some("s0".into()),
        item_index: None,
        attempt: 1,
        timestamp: scene.now(),
        level: LogLevel::Warn,
        message: "careful".into(),
        metadata: Map::new(),
    };
    scene
        .store
        .append(std::slice::from_ref(&line))
        .await
        .unwrap();
    let jobs = [pending, queued, ended, running];
    let look = async |scene: &Scene| {
        let mut seen = Vec::new();
        for job in jobs {
            seen.push((scene.record(job).await, scene.steps(job).await));
        }
        seen
    };
    let mut before = look(&scene).await;
    if scene.facts.restart_ends_leases {
        before[3].0.lease_expires_at = Some(scene.now());
    }

    let scene = scene.restart(fixture).await;
    assert_eq!(look(&scene).await, before);
    let stored = scene.store.pipeline("default", "p", None).await.unwrap();
    assert_eq!(stored, Some(pipeline.clone()));
    // The lease, the place in its sequence and the key are still known.
    assert_eq!(scene.renew(lease, LONG).await, LeaseState::Held);
    let again = scene.try_commit(lease, 1, first()).await.unwrap();
    assert_eq!(again, Verdict::AlreadyApplied);
    scene
        .commit(lease, 2, vec![moves(A, StepStatus::Success)])
        .await;
    let again = scene.store.submit(keyed).await.unwrap();
    assert_eq!(again, Submitted::Existing(pending));
    scene.store.append(&[line]).await.unwrap();
    let lines = scene.store.lines(running, 0, 9).await.unwrap();
    let seqs: Vec<_> = lines.iter().map(|line| line.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(scene.claim_any(9).await, [pending, queued]);
}
