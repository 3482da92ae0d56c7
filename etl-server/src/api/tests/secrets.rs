//! Credentials, over the whole router: what goes in never comes out.

use super::*;

const CANARY: &str = "hunter2-canary";

fn credential(name: &str) -> Value {
    json!({ "name": name, "connector_type": "command", "secret": { "password": CANARY } })
}

#[tokio::test]
async fn a_credential_is_stored_changed_tried_and_removed_and_never_told() {
    let api = an_api(ByName);
    let post = ("POST", "/credentials");
    let made = api.tell(post, "admin", &[], &credential("bank")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.body["id"].as_str().unwrap();
    let path = format!("/credentials/{id}");
    let mut said = vec![made.body.clone()];

    let tried = api
        .tell(
            ("POST", &format!("{path}/test")),
            "admin",
            &[],
            &Value::Null,
        )
        .await;
    assert_eq!(
        tried.body,
        json!({ "ok": true, "tested": "shape", "error_class": null })
    );
    let other = json!({ "secret": { "password": format!("{CANARY}-2") } });
    let tag = [("if-match", made.headers["etag"].to_str().unwrap())];
    let changed = api.tell(("PUT", &path), "admin", &tag, &other).await;
    assert_eq!((changed.status, &changed.body["version"]), (200, &json!(2)));
    let stale = api.tell(("PUT", &path), "admin", &tag, &other).await;
    stale.is_problem(412);
    for path in [&*path, "/credentials"] {
        said.push(
            api.tell(("GET", path), "operator", &[], &Value::Null)
                .await
                .body,
        );
        api.tell(("GET", path), "viewer", &[], &Value::Null)
            .await
            .is_problem(403);
    }
    let again = api.tell(post, "admin", &[], &credential("bank")).await;
    again.is_problem(409);
    let removed = api
        .tell(("DELETE", &path), "admin", &[], &Value::Null)
        .await;
    assert_eq!(removed.status, 204);
    api.tell(("GET", &path), "admin", &[], &Value::Null)
        .await
        .is_problem(404);
    said.extend([changed.body, stale.body, again.body]);
    said.push(api.ask("GET", "/api/v1/audit", "admin").await.body);
    for said in said {
        assert!(!said.to_string().contains(CANARY), "{said}");
    }
}

#[tokio::test]
async fn a_secret_that_does_not_fit_is_told_by_its_place_alone() {
    let api = an_api(ByName);
    for (body, pointer) in [
        (
            json!({ "name": "a", "connector_type": "command", "secret": CANARY }),
            "/secret",
        ),
        (
            json!({ "name": "a", "connector_type": "sleep", "secret": { "x": CANARY } }),
            "/connector_type",
        ),
        (
            json!({ "name": "a", "connector_type": CANARY, "secret": {} }),
            "/connector_type",
        ),
        (
            json!({ "name": "a", "connector_type": "command", "secret": {}, "version": 7 }),
            "/version",
        ),
    ] {
        let refused = api
            .tell(("POST", "/credentials"), "admin", &[], &body)
            .await;
        refused.is_problem(422);
        assert_eq!(
            refused.body["errors"][0]["pointer"], pointer,
            "{}",
            refused.body
        );
        assert!(
            !refused.body.to_string().contains(CANARY),
            "{}",
            refused.body
        );
    }
}

#[tokio::test]
async fn a_credential_made_again_with_the_same_key_is_the_same() {
    let api = an_api(ByName);
    let post = ("POST", "/credentials");
    let key = [("idempotency-key", "k1")];
    let first = api.tell(post, "admin", &key, &credential("bank")).await;
    let again = api.tell(post, "admin", &key, &credential("bank")).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    let mut other = credential("bank");
    other["secret"]["password"] = json!("another");
    api.tell(post, "admin", &key, &other).await.is_problem(409);
}
