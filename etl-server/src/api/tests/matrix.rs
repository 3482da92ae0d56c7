//! Who may do what: every route, as everybody who could ask, about what is there, what is gone and what never was. What is expected
//! stands in a table of its own, by the reference's §9.1, and is not asked of the code that decides.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use axum::extract::ConnectInfo;
use etl_core::contract::store::{
    CreateApiKey, CreateUser, CredentialStore, Others, RemoveUser, RevokeApiKey, UserCreated,
};
use etl_core::model::{ApiKeyId, AuditFilter, PageRequest, PipelineId};

use super::dead_letters::bury;
use super::sign_in::{ANA, Scene, access};
use super::*;
use crate::identity::{Permission, TokenKind};

/// Each route with who may come in: `a` admins, `o` operators, `v` viewers. `p` is whoever has signed in with a password, `s` whoever
/// has signed in, `-` everybody.
const TABLE: &str = "
GET    /pipelines                               aov
POST   /pipelines                               a
GET    /pipelines/{id}                          aov
PUT    /pipelines/{id}                          a
DELETE /pipelines/{id}                          a
POST   /pipelines/{id}/execute                  ao
POST   /pipelines/{id}/validate                 aov
POST   /pipelines/{id}/backfill                 ao
GET    /pipelines/{id}/versions                 aov
GET    /pipelines/{id}/versions/{version}       aov
GET    /jobs                                    aov
GET    /jobs/{id}                               aov
POST   /jobs/{id}/cancel                        ao
POST   /jobs/{id}/retry                         a
GET    /jobs/{id}/logs                          aov
GET    /jobs/{id}/events                        aov
GET    /jobs/{id}/artifacts                     aov
GET    /jobs/{id}/steps                         aov
GET    /jobs/{id}/steps/{step_id}               aov
GET    /jobs/{id}/steps/{step_id}/logs          aov
GET    /connectors                              aov
GET    /connectors/{name}                       aov
GET    /connectors/{name}/schema                aov
GET    /credentials                             ao
POST   /credentials                             a
GET    /credentials/{id}                        ao
PUT    /credentials/{id}                        a
DELETE /credentials/{id}                        a
POST   /credentials/{id}/test                   a
GET    /schedules                               aov
POST   /schedules                               a
GET    /schedules/{id}                          aov
PUT    /schedules/{id}                          a
DELETE /schedules/{id}                          a
POST   /schedules/{id}/pause                    ao
POST   /schedules/{id}/resume                   ao
GET    /dead-letters                            aov
GET    /dead-letters/{id}                       aov
POST   /dead-letters/{id}/requeue               ao
POST   /dead-letters/{id}/discard               ao
GET    /metrics/summary                         aov
GET    /metrics/pipelines/{id}                  aov
GET    /metrics/connectors/{name}               aov
GET    /users                                   a
POST   /users                                   a
GET    /users/{id}                              a
PUT    /users/{id}                              a
DELETE /users/{id}                              a
GET    /users/{id}/sessions                     a
DELETE /users/{id}/sessions                     a
DELETE /users/{id}/mfa                          a
GET    /audit                                   a
GET    /ws                                      aov
POST   /ws/ticket                               aov
GET    /openapi.json                            s
GET    /auth/me                                 s
GET    /auth/sessions                           p
DELETE /auth/sessions/{id}                      p
POST   /auth/logout                             p
POST   /auth/password                           p
POST   /auth/mfa/enroll                         p
POST   /auth/mfa/disable                        p
GET    /api-keys                                p
POST   /api-keys                                p
DELETE /api-keys/{id}                           p
POST   /auth/login                              -
POST   /auth/setup                              -
POST   /auth/refresh                            -
POST   /auth/mfa/verify                         -
";

fn letters_of(method: &str, path: &str) -> Option<&'static str> {
    let path = path.strip_prefix("/api/v1")?;
    TABLE.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some(method) && words.next() == Some(path);
        is_it.then(|| words.next())?
    })
}

/// Somebody who asks.
struct Asker {
    name: &'static str,
    token: String,
    /// `a`, `o` or `v`; nothing for somebody who is not known.
    role: Option<char>,
    is_key: bool,
    /// Whether its scopes name everything, and not looking at connectors alone.
    has_scopes: bool,
}

impl Asker {
    /// What a route with these letters answers, if it can be told: 401, 403, or nothing of both.
    fn expected(&self, letters: &str, path: &str) -> Option<u16> {
        let is_in_scope = self.has_scopes || path.starts_with("/api/v1/connectors");
        let may = match (letters, self.role) {
            ("-", _) => return None,
            (_, None) => return Some(401),
            ("s", Some(_)) => true,
            ("p", Some(_)) => !self.is_key,
            (letters, Some(role)) => letters.contains(role) && is_in_scope,
        };
        (!may).then_some(403)
    }
}

/// What a path can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    There,
    Gone,
    Never,
    NoId,
}

static ADDRESS: AtomicU32 = AtomicU32::new(0);

struct Stage {
    scene: Scene,
    vault: Vault,
}

impl Stage {
    async fn ask(&self, method: &str, path: &str, token: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(Body::empty()).unwrap();
        // From another address each time: strangers are counted by theirs.
        let address = (ADDRESS.fetch_add(1, Relaxed).to_be_bytes(), 1);
        let address: SocketAddr = address.into();
        request.extensions_mut().insert(ConnectInfo(address));
        self.scene.asked.send(request).await
    }

    /// The id of something that the path is about, as it is to be.
    async fn object(&self, path: &str, object: Object) -> String {
        let is_gone = object == Object::Gone;
        match object {
            Object::Never => return Uuid::now_v7().to_string(),
            Object::NoId => return "%00'--".into(),
            Object::There | Object::Gone => {}
        }
        let store = &self.scene.asked.store;
        let name = format!("n{}", Uuid::now_v7().simple());
        let by = By("test".into());
        if path.contains("/jobs/") {
            let job = self.scene.asked.a_job().await;
            // A stream of it ends.
            JobStore::cancel(&**store, job, "enough").await.unwrap();
            return if is_gone {
                Uuid::now_v7().to_string()
            } else {
                job.to_string()
            };
        }
        if path.contains("/dead-letters/") {
            let job = self.scene.asked.a_job().await;
            let letters = bury(&self.scene.asked, job, 1).await;
            return if is_gone {
                Uuid::now_v7().to_string()
            } else {
                letters[0].clone()
            };
        }
        if path.contains("/credentials/") {
            let stored = self
                .vault
                .set("default", &name, "command", br#"{"a":1}"#, &by);
            let id = stored.await.unwrap().id.to_string();
            if is_gone {
                store.remove_credential("default", &name).await.unwrap();
            }
            return id;
        }
        if path.contains("/users/") {
            return self.user(is_gone).await.to_string();
        }
        if path.contains("/api-keys/") || path.contains("/auth/sessions/") {
            let user = self.user(false).await;
            let id = ApiKeyId(Uuid::now_v7());
            let create = CreateApiKey {
                id,
                user,
                name,
                prefix: String::new(),
                hash: TokenKind::ApiKey
                    .hash(TokenKind::ApiKey.token().unwrap().expose())
                    .unwrap(),
                scopes: Vec::new(),
                ttl: None,
            };
            store.create_api_key(create).await.unwrap();
            if is_gone {
                store
                    .revoke_api_key(RevokeApiKey { user, id })
                    .await
                    .unwrap();
            }
            return id.to_string();
        }
        let document = json!({ "name": name, "schedule": "@daily", "steps": [
            { "name": "wait", "connector_type": "sleep", "config": { "seconds": 1 } },
        ] });
        let put = PutPipeline {
            document: Arc::new(serde_json::from_value(document).unwrap()),
            expected_version: None,
            by,
        };
        let PipelineId(id) = store.put_pipeline(put).await.unwrap().id;
        if is_gone {
            store.remove_pipeline("default", &name).await.unwrap();
        }
        id.to_string()
    }

    async fn user(&self, is_gone: bool) -> UserId {
        let store = &self.scene.asked.store;
        let id = UserId(Uuid::now_v7());
        let create = CreateUser {
            id,
            email: format!("{id}@example.org"),
            password_hash: "$argon2id$none".into(),
            role: Role::Viewer,
            others: Others::Allowed,
        };
        assert!(matches!(
            store.create_user(create).await.unwrap(),
            UserCreated::Created(_)
        ));
        if is_gone {
            let expected_version = None;
            let remove = RemoveUser {
                id,
                expected_version,
            };
            store.remove_user(remove).await.unwrap();
        }
        id
    }

    /// What was changed so far, by the audit log.
    async fn changes(&self) -> usize {
        let filter = AuditFilter::default();
        let mut page = PageRequest::first(500);
        let mut changes = 0;
        loop {
            let rows = AuditLog::audit(&*self.scene.asked.store, &filter, &page)
                .await
                .unwrap();
            let changed = rows.items.iter();
            changes += changed
                .filter(|row| !["access.deny", "session.refuse"].contains(&&*row.action))
                .count();
            match rows.next_cursor {
                Some(cursor) => page.cursor = Some(cursor),
                None => return changes,
            }
        }
    }
}

async fn askers(scene: &Scene) -> Vec<Asker> {
    let ana = scene.tokens(ANA).await;
    let mut askers = vec![
        ("anonymous", String::new()),
        ("garbage", "a.b.c".into()),
        (
            "refresh token",
            ana["refresh_token"].as_str().unwrap().into(),
        ),
    ];
    let everything: Vec<String> = Permission::all().map(|one| one.to_string()).collect();
    let mut known = Vec::new();
    let key = async |token: &str, scopes: &[String]| {
        let body = json!({ "name": "ci", "scopes": scopes });
        let made = scene.post("/api-keys", token, &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.body["key"].as_str().unwrap().to_owned()
    };
    for (role, letter) in [("operator", 'o'), ("viewer", 'v')] {
        for email in ["1", "gone", "out"] {
            let email = format!("{role}{email}@example.org");
            scene.user(&ana, &email, role).await;
        }
        let tokens = scene.tokens(&format!("{role}1@example.org")).await;
        known.push((role, access(&tokens).to_owned(), letter));
        // Whoever was switched off, and whoever has signed out.
        let gone = scene.tokens(&format!("{role}gone@example.org")).await;
        let me = scene.get("/auth/me", access(&gone)).await.body;
        let id = me["id"].as_str().unwrap();
        let tag = scene.get(&format!("/users/{id}"), access(&ana)).await;
        let tag = tag.headers["etag"].to_str().unwrap().to_owned();
        let off = json!({ "email": me["email"], "role": role, "is_active": false });
        let path = format!("/users/{id}");
        let off = scene
            .send(
                "PUT",
                &path,
                access(&ana),
                &[("if-match", &tag)],
                Some(&off),
            )
            .await;
        assert_eq!(off.status, 200, "{}", off.body);
        askers.push(("switched off", access(&gone).to_owned()));
        let out = scene.tokens(&format!("{role}out@example.org")).await;
        assert_eq!(
            scene
                .send("POST", "/auth/logout", access(&out), &[], None)
                .await
                .status,
            204
        );
        askers.push(("signed out", access(&out).to_owned()));
    }
    known.push(("admin", access(&ana).to_owned(), 'a'));
    let mut all = Vec::new();
    for (name, token, role) in &known {
        for (scopes, has_scopes) in [
            (&everything[..], true),
            (&["connectors:read".to_owned()][..], false),
        ] {
            let token = key(token, scopes).await;
            all.push(Asker {
                name: "key",
                token,
                role: Some(*role),
                is_key: true,
                has_scopes,
            });
        }
        let (token, role) = (token.clone(), Some(*role));
        all.push(Asker {
            name,
            token,
            role,
            is_key: false,
            has_scopes: true,
        });
    }
    all.extend(askers.into_iter().map(|(name, token)| Asker {
        name,
        token,
        role: None,
        is_key: false,
        has_scopes: false,
    }));
    all
}

#[tokio::test]
async fn every_route_as_everybody_about_everything() {
    let (scene, _) = Scene::with_ana().await;
    let vault = a_vault(scene.asked.store.clone(), scene.asked.folder.path());
    let stage = Stage { scene, vault };
    let askers = askers(&stage.scene).await;
    let (mut cases, mut wrong) = (0, Vec::new());
    let mut rows = BTreeSet::new();
    for route in routes() {
        let method = route.method.as_str();
        let letters = letters_of(method, route.path);
        let letters = letters.unwrap_or_else(|| panic!("{method} {} is in no row", route.path));
        rows.insert((method.to_owned(), route.path));
        if route.path == "/api/v1/auth/logout" {
            // Whoever may, has no session any more: the last words of this test.
            continue;
        }
        let objects: &[Object] = if route.path.contains("{id}") {
            &[Object::There, Object::Gone, Object::Never, Object::NoId]
        } else {
            &[Object::There]
        };
        for asker in &askers {
            let mut answers = Vec::new();
            for object in objects {
                let id = stage.object(route.path, *object).await;
                let path = route.path.replace("{id}", &id).replace("{name}", "copy");
                let path = path
                    .replace("{version}", "1")
                    .replace("{step_id}", &Uuid::nil().to_string());
                let before = stage.changes().await;
                let answer = stage.ask(method, &path, &asker.token).await;
                cases += 1;
                let is_right = match asker.expected(letters, route.path) {
                    Some(status) => answer.status == status && stage.changes().await == before,
                    None if letters == "-" => answer.status != 403,
                    None => ![401, 403, 500].contains(&answer.status),
                };
                if !is_right {
                    wrong.push(format!(
                        "{} {} {method} {path} {object:?}: {}",
                        asker.name, asker.is_key, answer.status
                    ));
                }
                answers.push((answer.status, answer.body["detail"].clone()));
            }
            // What is gone and what never was are answered alike, so that nothing can be told from it.
            if let [_, gone, never, _] = &answers[..]
                && gone != never
            {
                wrong.push(format!(
                    "{} {method} {}: {gone:?} {never:?}",
                    asker.name, route.path
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(cases >= 1_500, "{cases}");
    let all = TABLE.lines().filter(|line| !line.trim().is_empty()).count();
    assert_eq!(all, rows.len(), "the table has a row of no route");
}

#[test]
fn a_route_that_lets_in_too_many_would_be_found() {
    let viewer = Asker {
        name: "viewer",
        token: String::new(),
        role: Some('v'),
        is_key: false,
        has_scopes: true,
    };
    let letters = letters_of("DELETE", "/api/v1/pipelines/{id}").unwrap();
    // If the code let them in, the answer would be another one.
    assert_eq!(
        viewer.expected(letters, "/api/v1/pipelines/{id}"),
        Some(403)
    );
    let open = Access::to(
        crate::identity::Action::Read,
        crate::identity::Resource::Pipelines,
    );
    let principal = Principal {
        user: UserId(Uuid::nil()),
        name: "viewer".into(),
        role: Role::Viewer,
        kind: Kind::Session(SessionId(Uuid::nil())),
    };
    assert!(
        authorize(&principal, open).is_ok(),
        "a deletion with the access of a look lets a viewer in"
    );
}
