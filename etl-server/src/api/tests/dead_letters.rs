//! What failed for good, over the whole router.

use std::time::Duration;

use etl_core::contract::store::{ClaimRequest, LetterStore, SettleLetter};
use etl_core::model::{
    AuditFilter, Change, Commit, DeadLetter, ErrorClass, JobStatus, PageRequest, StepKey,
    StepPatch, StepStatus, WorkerId,
};

use super::*;

/// The letters of a job of two steps that both failed for good.
async fn two_letters(api: &Asked, name: &str) -> Vec<String> {
    let document = json!({ "name": name, "steps": [
        { "name": "a", "connector_type": "fail", "config": { "message": "no" } },
        { "name": "b", "connector_type": "fail", "config": { "message": "no" } },
    ] });
    let made = api
        .tell(("POST", "/pipelines"), "admin", &[], &document)
        .await;
    let id = made.body["id"].as_str().unwrap();
    let execute = format!("/pipelines/{id}/execute");
    let job = api.tell(("POST", &execute), "admin", &[], &json!({})).await;
    assert_eq!(job.status, 202, "{}", job.body);
    bury(api, job.body["id"].as_str().unwrap().parse().unwrap(), 2).await
}

/// The letters of a job that waits, once so many of its steps have failed for good.
pub(super) async fn bury(api: &Asked, job: JobId, steps: u32) -> Vec<String> {
    let want = ClaimRequest {
        worker: WorkerId(Uuid::now_v7()),
        jobs: Some(vec![job]),
        limit: 1,
        ttl: Duration::from_mins(1),
        tags: Vec::new(),
    };
    let lease = api.store.claim(want).await.unwrap()[0].lease;
    let keys = (0..steps).map(StepKey::step);
    let mut changes: Vec<Change> = keys
        .clone()
        .flat_map(|key| {
            let moved = Change::Step {
                key,
                attempt: 1,
                to: StepStatus::Failed,
                patch: Box::new(StepPatch::default()),
            };
            let letter = DeadLetter {
                key,
                step_name: "a".into(),
                attempts: 1,
                error_class: ErrorClass::Permanent,
                error: "no".into(),
            };
            [moved, Change::Bury(letter)]
        })
        .collect();
    changes.push(Change::Job {
        to: JobStatus::Failed,
        error: Some("no".into()),
        error_stack: None,
        rows_processed: 0,
        bytes_transferred: 0,
    });
    let commit = Commit {
        lease,
        seq: 1,
        at: SystemClock.now(),
        changes,
        lines: Vec::new(),
    };
    api.store.commit(&[commit]).await.unwrap();
    keys.map(|key| key.execution_id(job).to_string()).collect()
}

async fn jobs(api: &Asked) -> usize {
    let listed = api.ask("GET", "/api/v1/jobs", "viewer").await;
    listed.body["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_letter_is_requeued_once_however_many_ask() {
    let api = an_api(ByName);
    let letters = two_letters(&api, "p").await;
    let path = format!("/api/v1/dead-letters/{}/requeue", letters[0]);
    assert_eq!(api.ask("POST", &path, "viewer").await.status, 403);
    let asks = (0..20).map(|_| api.ask("POST", &path, "operator"));
    let answers = futures_util::future::join_all(asks).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|one| one.status == 202);
    assert_eq!((made.len(), refused.len()), (1, 19));
    assert!(refused.iter().all(|one| one.status == 409));
    let job = &made[0].body;
    assert_eq!(job["trigger_type"], "api");
    assert_eq!(jobs(&api).await, 2);

    // The job is repeated, and with it the other letter's step.
    for letter in &letters {
        let path = format!("/api/v1/dead-letters/{letter}");
        let found = api.ask("GET", &path, "viewer").await.body;
        assert_eq!(found["status"], "requeued");
        assert_eq!(found["retry_job_id"], job["id"]);
        assert_eq!(found["settled_by"], "operator");
        let again = api.ask("POST", &format!("{path}/requeue"), "admin").await;
        again.is_problem(409);
        let late = api.ask("POST", &format!("{path}/discard"), "admin").await;
        late.is_problem(409);
    }
    assert_eq!(jobs(&api).await, 2);
    let filter = AuditFilter {
        action: Some("dead_letter.requeue".into()),
        ..AuditFilter::default()
    };
    let noted = AuditLog::audit(&*api.store, &filter, &PageRequest::default()).await;
    assert_eq!(noted.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_job_that_a_stopped_server_was_to_make_is_made_by_who_comes_next() {
    let api = an_api(ByName);
    let letters = two_letters(&api, "p").await;
    let retry = JobId(Uuid::now_v7());
    let settle = SettleLetter {
        id: letters[0].parse().unwrap(),
        by: By("admin".into()),
        retry: Some(retry),
    };
    assert!(api.store.settle_letter(settle).await.unwrap());
    let path = format!("/api/v1/dead-letters/{}/requeue", letters[1]);
    let made = api.ask("POST", &path, "admin").await;
    assert_eq!((made.status, jobs(&api).await), (202, 2), "{}", made.body);
    assert_eq!(made.body["id"], retry.to_string());
    api.ask("POST", &path, "admin").await.is_problem(409);
    assert_eq!(jobs(&api).await, 2);
}

#[tokio::test]
async fn letters_are_listed_and_discarded() {
    let api = an_api(ByName);
    let letters = two_letters(&api, "p").await;
    two_letters(&api, "q").await;
    let list = async |query: &str| {
        let path = format!("/api/v1/dead-letters?{query}");
        api.ask("GET", &path, "viewer").await
    };
    let count = |answer: &Answer| answer.body["items"].as_array().unwrap().len();
    assert_eq!(count(&list("").await), 4);
    let first = list("limit=3").await;
    let cursor = first.body["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(count(&list(&format!("cursor={cursor}")).await), 1);

    let path = format!("/api/v1/dead-letters/{}/discard", letters[0]);
    assert_eq!(api.ask("POST", &path, "viewer").await.status, 403);
    let discarded = api.ask("POST", &path, "operator").await;
    assert_eq!(
        (discarded.status, &discarded.body["status"]),
        (200, &json!("discarded"))
    );
    api.ask("POST", &path, "operator").await.is_problem(409);
    assert_eq!(count(&list("status=open").await), 3);
    assert_eq!(count(&list("status=discarded").await), 1);
    let pipeline = discarded.body["pipeline_id"].as_str().unwrap();
    let query = format!("status=open&pipeline_id={pipeline}");
    assert_eq!(count(&list(&query).await), 1);
    list("status=lost").await.is_problem(400);
    list("cursor=nowhere").await.is_problem(400);
    let unknown = format!("/api/v1/dead-letters/{}/requeue", Uuid::now_v7());
    api.ask("POST", &unknown, "admin").await.is_problem(404);
    assert_eq!(jobs(&api).await, 2);
}
