//! That changes are noted with who made them, and nothing else is.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::{AuditFixture, Scene};
use crate::contract::Clock;
use crate::contract::store::{
    ChangeMfa, CreateApiKey, CreateUser, EndSessions, OpenSession, Others, PutCredential,
    PutPipeline, RemoveUser, RevokeApiKey, RevokeSession, UpdateUser,
};
use crate::model::{
    ApiKeyId, AuditRecord, By, CredentialId, MfaChange, Role, SessionId, TokenHash, UserEdit,
    UserId,
};
use crate::testing::{a_pipeline, new_job};

const SECRET: &str = "canary-b81f02";

fn a_user(email: &str) -> CreateUser {
    CreateUser {
        id: UserId(Uuid::now_v7()),
        email: email.into(),
        password_hash: format!("$argon2id${SECRET}"),
        role: Role::Admin,
        others: Others::Allowed,
    }
}

pub(super) async fn a_change_is_noted_with_who_made_it(fixture: &dyn AuditFixture) {
    let scene = Scene::on(fixture).await;
    let create = a_user("rui@example.org");
    let id = create.id;
    scene.act(scene.store.create_user(create)).await.unwrap();
    let page = scene.all().await;
    let [row] = &page.items[..] else {
        panic!("{page:?}");
    };
    let expected = AuditRecord {
        id: row.id,
        timestamp: scene.clock.now(),
        user_id: scene.actor.user_id,
        actor: "ana@example.org".into(),
        action: "user.create".into(),
        resource_type: Some("user".into()),
        resource_id: Some(id.to_string()),
        old_value: None,
        new_value: Some(json!({
            "email": "rui@example.org", "role": "admin", "is_active": true, "version": 1,
        })),
        ip_address: Some("192.0.2.7".into()),
        user_agent: Some("curl/8".into()),
        trace_id: Some("4bf92f3577b34da6".into()),
    };
    assert_eq!(*row, expected);
    // What nobody did, a worker or the command line, is not noted.
    let other = a_user("eva@example.org");
    scene.store.create_user(other).await.unwrap();
    assert_eq!(scene.actions().await, ["user.create"]);
}

pub(super) async fn what_was_refused_is_not_noted(fixture: &dyn AuditFixture) {
    let scene = Scene::on(fixture).await;
    let rui = a_user("rui@example.org");
    let id = rui.id;
    scene.store.create_user(rui).await.unwrap();
    let update = |expected| UpdateUser {
        id,
        expected_version: Some(expected),
        edit: UserEdit::default(),
    };
    scene
        .act(async {
            let same = a_user("RUI@example.org");
            scene.store.create_user(same).await.unwrap();
            scene.store.update_user(update(7)).await.unwrap();
            let remove = RemoveUser {
                id,
                expected_version: None,
            };
            scene.store.remove_user(remove).await.unwrap();
            let end = EndSessions {
                user: UserId(Uuid::now_v7()),
            };
            scene.store.end_sessions(end).await.unwrap();
            let removed = scene.store.remove_pipeline("default", "none").await;
            removed.unwrap();
            let removed = scene.store.remove_credential("default", "none").await;
            removed.unwrap();
            let twice = CreateUser {
                id,
                ..a_user("eva@example.org")
            };
            scene.store.create_user(twice).await.unwrap_err();
        })
        .await;
    assert_eq!(scene.actions().await, [""; 0]);
    scene.act(scene.store.update_user(update(1))).await.unwrap();
    assert_eq!(scene.actions().await, ["user.update"]);
}

pub(super) async fn every_kind_of_change_is_noted_and_no_secret(fixture: &dyn AuditFixture) {
    let scene = Scene::on(fixture).await;
    let store = &scene.store;
    scene
        .act(async {
            store.create_user(a_user("ana@example.org")).await.unwrap();
            let rui = a_user("rui@example.org");
            let user = rui.id;
            store.create_user(rui).await.unwrap();
            let edit = UserEdit {
                password_hash: Some(format!("$argon2id${SECRET}2")),
                ..UserEdit::default()
            };
            let update = UpdateUser {
                id: user,
                expected_version: None,
                edit,
            };
            store.update_user(update).await.unwrap();
            let sealed = SECRET.as_bytes().to_vec();
            for change in [
                MfaChange::Enroll {
                    sealed: sealed.clone(),
                },
                MfaChange::Confirm {
                    sealed: sealed.clone(),
                    step: 7,
                    recovery_codes: vec![TokenHash([7; 32])],
                },
                MfaChange::AcceptStep { sealed, step: 8 },
                MfaChange::UseRecoveryCode(TokenHash([7; 32])),
                MfaChange::Disable,
            ] {
                assert!(store.change_mfa(ChangeMfa { user, change }).await.unwrap());
            }
            let session = SessionId(Uuid::now_v7());
            let open = OpenSession {
                id: session,
                user,
                epoch: 2,
                token: TokenHash([9; 32]),
                client: "firefox".into(),
            };
            store.open_session(open).await.unwrap().unwrap();
            let revoke = RevokeSession { user, session };
            assert!(store.revoke_session(revoke).await.unwrap());
            let id = ApiKeyId(Uuid::now_v7());
            let key = CreateApiKey {
                id,
                user,
                name: "ci".into(),
                prefix: "etl_ak_1".into(),
                hash: TokenHash([8; 32]),
                scopes: vec!["jobs:read".into()],
                ttl: Some(Duration::from_mins(1)),
            };
            store.create_api_key(key).await.unwrap().unwrap();
            let revoke = RevokeApiKey { user, id };
            assert!(store.revoke_api_key(revoke).await.unwrap());
            let end = EndSessions { user };
            assert!(store.end_sessions(end).await.unwrap());
            let remove = RemoveUser {
                id: user,
                expected_version: None,
            };
            store.remove_user(remove).await.unwrap();

            let credential = CredentialId(Uuid::now_v7());
            for version in [1, 2] {
                let put = PutCredential {
                    id: credential,
                    namespace: "default".into(),
                    name: "bank".into(),
                    connector_type: "command".into(),
                    version,
                    key_id: "k1".into(),
                    sealed: SECRET.as_bytes().to_vec(),
                    by: By("ana".into()),
                };
                store.put_credential(put).await.unwrap();
            }
            let removed = store.remove_credential("default", "bank").await;
            assert!(removed.unwrap());

            let put = |steps: &[&str]| {
                let mut document = a_pipeline("p");
                for step in steps {
                    document = document.step(step);
                }
                let mut document = document.build();
                Arc::make_mut(&mut document).schedule = Some("@daily".into());
                PutPipeline {
                    document,
                    expected_version: None,
                    by: By("ana".into()),
                }
            };
            store.put_pipeline(put(&["a"])).await.unwrap();
            let id = store.put_pipeline(put(&["a", "b"])).await.unwrap().id;
            store.pause(id).await.unwrap();
            store.resume(id).await.unwrap();
            let stored = store.pipeline("default", "p", None).await.unwrap().unwrap();
            let mut job = new_job(&stored);
            job.parameters = json!({ "password": SECRET });
            let id = job.id;
            store.submit(job.clone()).await.unwrap();
            store.submit(job).await.unwrap();
            store.cancel(id, "not now").await.unwrap();
            let removed = store.remove_pipeline("default", "p").await;
            assert!(removed.unwrap());
        })
        .await;
    let expected = [
        "user.create",
        "user.create",
        "user.update",
        "mfa.enroll",
        "mfa.confirm",
        "mfa.use_recovery_code",
        "mfa.disable",
        "session.open",
        "session.revoke",
        "api_key.create",
        "api_key.delete",
        "user.end_sessions",
        "user.delete",
        "credential.create",
        "credential.update",
        "credential.delete",
        "pipeline.create",
        "pipeline.update",
        "schedule.pause",
        "schedule.resume",
        "job.submit",
        "job.cancel",
        "pipeline.delete",
    ];
    assert_eq!(scene.actions().await, expected);
    let text = serde_json::to_string(&scene.all().await).unwrap();
    assert!(!text.contains(SECRET), "{text}");
}
