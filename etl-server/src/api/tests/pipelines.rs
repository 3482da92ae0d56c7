//! Pipelines, their jobs and schedules, over the whole router.

use etl_core::model::{AuditFilter, LogEvent, PageRequest};

use super::*;

fn document(name: &str) -> Value {
    json!({
        "name": name,
        "parameters": { "properties": { "day": { "type": "integer", "default": 1 } } },
        "steps": [
            { "name": "wait", "connector_type": "sleep", "config": { "seconds": "{{ params.day }}" } },
            { "name": "then", "connector_type": "sleep", "config": { "seconds": 1 }, "dependencies": ["wait"] },
        ],
    })
}

async fn a_pipeline(api: &Asked, name: &str) -> String {
    let post = ("POST", "/pipelines");
    let made = api.tell(post, "admin", &[], &document(name)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.body["id"].as_str().unwrap().to_owned();
    assert_eq!(
        made.headers["location"],
        format!("/api/v1/pipelines/{id}").as_str()
    );
    id
}

#[tokio::test]
async fn a_pipeline_is_made_changed_and_removed_by_its_versions() {
    let api = an_api(ByName);
    let id = a_pipeline(&api, "daily").await;
    let path = format!("/pipelines/{id}");

    let read = api.tell(("GET", &path), "viewer", &[], &Value::Null).await;
    assert_eq!(
        (
            read.status,
            &read.body["version"],
            &read.body["steps"][1]["name"]
        ),
        (200, &json!(1), &json!("then"))
    );
    let tag = read.headers["etag"].to_str().unwrap().to_owned();

    let mut changed = document("daily");
    changed["description"] = json!("every day");
    let put = ("PUT", &*path);
    let unsaid = api.tell(put, "admin", &[], &changed).await;
    assert_eq!(unsaid.status, 428);
    let updated = api
        .tell(put, "admin", &[("if-match", &tag)], &changed)
        .await;
    assert_eq!((updated.status, &updated.body["version"]), (200, &json!(2)));
    changed["description"] = json!("too late");
    let stale = api
        .tell(put, "admin", &[("if-match", &tag)], &changed)
        .await;
    stale.is_problem(412);
    let renamed = document("weekly");
    let renamed = api
        .tell(put, "admin", &[("if-match", "\"2\"")], &renamed)
        .await;
    assert_eq!(renamed.body["errors"][0]["pointer"], "/name");

    let list = format!("{path}/versions?limit=1");
    let versions = api.tell(("GET", &list), "viewer", &[], &Value::Null).await;
    assert_eq!(versions.body["items"][0]["version"], 2);
    let cursor = versions.body["next_cursor"].as_str().unwrap();
    let list = format!("{list}&cursor={cursor}");
    let versions = api.tell(("GET", &list), "viewer", &[], &Value::Null).await;
    assert_eq!(versions.body["items"][0]["version"], 1);
    assert_eq!(versions.body["next_cursor"], Value::Null);
    let first = format!("{path}/versions/1");
    let first = api.tell(("GET", &first), "viewer", &[], &Value::Null).await;
    assert_eq!(first.body["description"], Value::Null);

    let removed = api
        .tell(("DELETE", &path), "admin", &[], &Value::Null)
        .await;
    assert_eq!(removed.status, 204);
    let gone = api.tell(("GET", &path), "admin", &[], &Value::Null).await;
    gone.is_problem(404);
}

#[tokio::test]
async fn every_fault_of_a_document_is_told_and_nothing_is_stored() {
    let api = an_api(ByName);
    let faulty = json!({ "name": "Bad name", "shedule": "@daily", "steps": [
        { "name": "a", "connector_type": "slep" },
        { "name": "b", "connector_type": "sleep", "config": { "seconds": 1 }, "dependencies": ["c"] },
    ] });
    let refused = api
        .tell(("POST", "/pipelines"), "admin", &[], &faulty)
        .await;
    refused.is_problem(422);
    let pointers: Vec<_> = refused.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    for pointer in [
        "/name",
        "/shedule",
        "/steps/0/connector_type",
        "/steps/1/dependencies/0",
    ] {
        assert!(pointers.contains(&pointer), "{pointer}: {pointers:?}");
    }
    let list = api.ask("GET", "/api/v1/pipelines", "viewer").await;
    assert_eq!(list.body["items"], json!([]));

    let id = a_pipeline(&api, "daily").await;
    let path = format!("/pipelines/{id}/validate");
    let stored = api.tell(("POST", &path), "viewer", &[], &Value::Null).await;
    assert_eq!(stored.body, json!({ "valid": true, "errors": [] }));
    let offered = api.tell(("POST", &path), "viewer", &[], &faulty).await;
    assert_eq!(
        (offered.status, &offered.body["valid"]),
        (200, &json!(false))
    );
}

#[tokio::test]
async fn a_pipeline_made_again_with_the_same_key_is_the_same() {
    let api = an_api(ByName);
    let post = ("POST", "/pipelines");
    let key = [("idempotency-key", "k1")];
    let first = api.tell(post, "admin", &key, &document("daily")).await;
    let again = api.tell(post, "admin", &key, &document("daily")).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    let mut other = document("daily");
    other["priority"] = json!(9);
    api.tell(post, "admin", &key, &other).await.is_problem(409);
    // Without one it is an accident.
    let unsaid = api.tell(post, "admin", &[], &document("daily")).await;
    unsaid.is_problem(409);
}

#[tokio::test]
async fn a_job_is_accepted_once_for_a_key_and_by_whom_is_noted() {
    let api = an_api(ByName);
    let id = a_pipeline(&api, "daily").await;
    let path = format!("/pipelines/{id}/execute");
    let post = ("POST", &*path);
    let key = [("idempotency-key", "k1")];
    let body = json!({ "parameters": { "day": 2 } });
    let first = api.tell(post, "operator", &key, &body).await;
    assert_eq!(first.status, 202, "{}", first.body);
    let job = first.body["id"].as_str().unwrap();
    assert_eq!(
        first.headers["location"],
        format!("/api/v1/jobs/{job}").as_str()
    );
    assert_eq!(
        (
            &first.body["status"],
            &first.body["trigger_type"],
            &first.body["triggered_by"]
        ),
        (&json!("pending"), &json!("api"), &json!("operator"))
    );
    let again = api.tell(post, "operator", &key, &body).await;
    assert_eq!((again.status, &again.body["id"]), (202, &first.body["id"]));
    // A version that came in between does not make it another request.
    let mut changed = document("daily");
    changed["priority"] = json!(9);
    let put = ("PUT", &*format!("/pipelines/{id}"));
    let put = api
        .tell(put, "admin", &[("if-match", "\"1\"")], &changed)
        .await;
    assert_eq!(put.status, 200);
    let again = api.tell(post, "operator", &key, &body).await;
    assert_eq!((again.status, &again.body["id"]), (202, &first.body["id"]));
    let other = json!({ "parameters": { "day": 3 } });
    api.tell(post, "operator", &key, &other)
        .await
        .is_problem(409);
    let unfit = json!({ "parameters": { "day": "x" } });
    let unfit = api.tell(post, "operator", &[], &unfit).await;
    assert_eq!(unfit.body["errors"][0]["pointer"], "/parameters/day");
    // Nothing is sent: defaults.
    let bare = api.tell(post, "operator", &[], &Value::Null).await;
    assert_eq!(bare.body["parameters"], json!({ "day": 1 }));

    let rows = api
        .ask("GET", "/api/v1/audit?action=job.submit", "admin")
        .await;
    let rows = rows.body["items"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1]["resource_id"], json!(job));
    assert_eq!(rows[1]["actor"], "operator");
    assert_eq!(
        first.headers["x-request-id"],
        rows[1]["trace_id"].as_str().unwrap()
    );
}

#[tokio::test]
async fn what_is_refused_is_noted_too() {
    let api = an_api(ByName);
    let id = a_pipeline(&api, "daily").await;
    let path = format!("/pipelines/{id}/execute");
    let refused = api.tell(("POST", &path), "viewer", &[], &Value::Null).await;
    refused.is_problem(403);
    let filter = AuditFilter {
        action: Some("access.deny".into()),
        ..AuditFilter::default()
    };
    let rows = AuditLog::audit(&*api.store, &filter, &PageRequest::first(10)).await;
    let rows = rows.unwrap().items;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].actor, "viewer");
    assert_eq!(rows[0].resource_id.as_deref(), Some("pipelines:execute"));
    assert_eq!(refused.body["trace_id"], json!(rows[0].trace_id));
}

#[tokio::test]
async fn a_job_that_ended_is_repeated_and_one_that_goes_on_is_not() {
    let api = an_api(ByName);
    let id = a_pipeline(&api, "daily").await;
    let path = format!("/pipelines/{id}/execute");
    let job = api.tell(("POST", &path), "admin", &[], &Value::Null).await;
    let job = job.body["id"].as_str().unwrap().to_owned();
    let path = format!("/jobs/{job}/retry");
    let retry = ("POST", &*path);
    api.tell(retry, "admin", &[], &Value::Null)
        .await
        .is_problem(409);
    api.ask("POST", &format!("/api/v1/jobs/{job}/cancel"), "operator")
        .await;
    let body = json!({ "from": "failed", "version": "latest", "parameters": { "day": 4 } });
    let repeated = api.tell(retry, "admin", &[], &body).await;
    assert_eq!(repeated.status, 202, "{}", repeated.body);
    assert_eq!(
        (
            &repeated.body["retry_of"],
            &repeated.body["retry_attempt"],
            &repeated.body["parameters"]
        ),
        (&json!(job), &json!(1), &json!({ "day": 4 }))
    );
    assert_eq!(repeated.body["reused"], json!([]));
    let nowhere = api
        .tell(retry, "admin", &[], &json!({ "from": "wiat" }))
        .await;
    assert_eq!(nowhere.body["errors"][0]["pointer"], "/from");
    let whatever = api
        .tell(retry, "admin", &[], &json!({ "form": "failed" }))
        .await;
    whatever.is_problem(422);
}

#[tokio::test]
async fn logs_are_told_in_pages_by_level_and_by_step() {
    let api = an_api(ByName);
    let job = api.a_job().await;
    let steps = api
        .ask("GET", &format!("/api/v1/jobs/{job}/steps"), "viewer")
        .await;
    let step = &steps.body["items"][0];
    let name = step["name"].as_str().unwrap();
    let line = |n: u32, step: Option<&str>, level| etl_core::model::LogLine {
        job_id: job,
        seq: 0,
        step: step.map(Into::into),
        item_index: None,
        attempt: 1,
        timestamp: SystemClock.now(),
        level,
        message: format!("line {n}"),
        metadata: Map::new(),
    };
    use etl_core::contract::store::Journal;
    use etl_core::model::LogLevel::{Info, Warn};
    let lines: Vec<_> = (0..600)
        .map(|n| {
            let of_step = n % 2 == 0;
            line(
                n,
                of_step.then_some(name),
                if n % 3 == 0 { Warn } else { Info },
            )
        })
        .collect();
    Journal::append(&*api.store, &lines).await.unwrap();
    let all = async |path: &str| {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.ask("GET", &format!("{path}{cursor}"), "viewer").await;
            assert_eq!(page.status, 200, "{}", page.body);
            let items = page.body["items"].as_array().unwrap().clone();
            found.extend(
                items
                    .into_iter()
                    .filter(|line| line["metadata"][LogEvent::KEY].is_null()),
            );
            let Some(next) = page.body["next_cursor"].as_str() else {
                return found;
            };
            cursor = format!("&cursor={next}");
        }
    };
    let path = format!("/api/v1/jobs/{job}/logs");
    let found = all(&format!("{path}?limit=70")).await;
    assert_eq!(found.len(), 600);
    assert!(
        found
            .iter()
            .enumerate()
            .all(|(n, line)| line["message"] == format!("line {n}"))
    );
    assert_eq!(all(&format!("{path}?limit=70&level=WARN")).await.len(), 200);
    let last = found[596]["seq"].as_u64().unwrap();
    assert_eq!(all(&format!("{path}?after_seq={last}")).await.len(), 3);
    assert_eq!(
        all(&format!("{path}?after_seq={}", u64::MAX)).await.len(),
        0
    );
    for id in [&step["id"], &step["step_id"]] {
        let path = format!("/api/v1/jobs/{job}/steps/{}", id.as_str().unwrap());
        let one = api.ask("GET", &path, "viewer").await;
        assert_eq!(&one.body, step);
        assert_eq!(all(&format!("{path}/logs?limit=70")).await.len(), 300);
    }
    let nothing = format!("/api/v1/jobs/{job}/steps/{job}");
    api.ask("GET", &nothing, "viewer").await.is_problem(404);
}

#[tokio::test]
async fn a_schedule_is_given_changed_paused_and_taken_away() {
    let api = an_api(ByName);
    let id = a_pipeline(&api, "daily").await;
    let body =
        json!({ "pipeline_id": id, "schedule": "0 6 * * *", "timezone": "America/Sao_Paulo" });
    let post = ("POST", "/schedules");
    let made = api.tell(post, "admin", &[], &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["timezone"], "America/Sao_Paulo");
    assert!(made.body["next_fire_at"].is_string());
    api.tell(post, "admin", &[], &body).await.is_problem(409);
    let path = format!("/schedules/{id}");

    let paused = api
        .tell(
            ("POST", &format!("{path}/pause")),
            "operator",
            &[],
            &Value::Null,
        )
        .await;
    assert_eq!(
        (paused.status, &paused.body["is_paused"]),
        (200, &json!(true))
    );
    let resumed = api
        .tell(
            ("POST", &format!("{path}/resume")),
            "operator",
            &[],
            &Value::Null,
        )
        .await;
    assert_eq!(resumed.body["is_paused"], json!(false));

    let tag = [("if-match", made.headers["etag"].to_str().unwrap())];
    let never = json!({ "schedule": "0 6 31 2 *" });
    let refused = api.tell(("PUT", &path), "admin", &tag, &never).await;
    assert_eq!(
        refused.body["errors"][0]["pointer"], "/schedule",
        "{}",
        refused.body
    );
    let changed = api
        .tell(
            ("PUT", &path),
            "admin",
            &tag,
            &json!({ "schedule": "@hourly" }),
        )
        .await;
    assert_eq!(
        (changed.status, &changed.body["timezone"]),
        (200, &json!("UTC"))
    );
    let stale = api
        .tell(
            ("PUT", &path),
            "admin",
            &tag,
            &json!({ "schedule": "@daily" }),
        )
        .await;
    stale.is_problem(412);

    let stretch = json!({ "from": "2024-01-01T00:00:00Z", "to": "2024-01-01T05:00:00Z" });
    let backfill = format!("/pipelines/{id}/backfill");
    let jobs = api
        .tell(("POST", &backfill), "operator", &[], &stretch)
        .await;
    assert_eq!(jobs.status, 202, "{}", jobs.body);
    assert_eq!(jobs.body["items"].as_array().unwrap().len(), 6);
    let again = api
        .tell(("POST", &backfill), "operator", &[], &stretch)
        .await;
    assert_eq!(again.body["items"][0]["is_new"], json!(false));
    assert_eq!(
        again.body["items"][5]["job_id"],
        jobs.body["items"][5]["job_id"]
    );

    let removed = api
        .tell(("DELETE", &path), "admin", &[], &Value::Null)
        .await;
    assert_eq!(removed.status, 204);
    api.tell(("GET", &path), "viewer", &[], &Value::Null)
        .await
        .is_problem(404);
    api.tell(("POST", &backfill), "operator", &[], &stretch)
        .await
        .is_problem(409);
    let pipeline = api
        .tell(
            ("GET", &format!("/pipelines/{id}")),
            "viewer",
            &[],
            &Value::Null,
        )
        .await;
    assert_eq!(pipeline.body["schedule"], Value::Null);
}

#[tokio::test]
async fn figures_tell_what_became_of_jobs() {
    let api = an_api(ByName);
    let id = a_pipeline(&api, "daily").await;
    let path = format!("/pipelines/{id}/execute");
    for _ in 0..3 {
        api.tell(("POST", &path), "admin", &[], &Value::Null).await;
    }
    let jobs = api.ask("GET", "/api/v1/jobs?limit=1", "admin").await;
    let job = jobs.body["items"][0]["id"].as_str().unwrap();
    api.ask("POST", &format!("/api/v1/jobs/{job}/cancel"), "admin")
        .await;
    for path in [
        "/metrics/summary?hours=1",
        &format!("/metrics/pipelines/{id}"),
    ] {
        let figures = api.tell(("GET", path), "viewer", &[], &Value::Null).await;
        assert_eq!(figures.status, 200, "{}", figures.body);
        assert_eq!(
            figures.body["jobs_by_status"],
            json!({ "pending": 2, "cancelled": 1 })
        );
        assert_eq!(
            (&figures.body["jobs_total"], &figures.body["success_rate"]),
            (&json!(3), &json!(0.0))
        );
    }
    let steps = api
        .ask("GET", "/api/v1/metrics/connectors/sleep", "viewer")
        .await;
    assert_eq!(
        (&steps.body["steps_total"], &steps.body["success_rate"]),
        (&json!(6), &Value::Null)
    );
    for (path, status) in [
        ("/api/v1/metrics/connectors/nothing", 404),
        (
            "/api/v1/metrics/pipelines/01a21b80-b824-760a-8dcc-93f8d60dd14f",
            404,
        ),
        ("/api/v1/metrics/summary?hours=0", 400),
        ("/api/v1/metrics/summary?hours=721", 400),
    ] {
        api.ask("GET", path, "viewer").await.is_problem(status);
    }
}
