//! Stories of signing in, over the whole router and a store in memory whose clock is moved by hand.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use etl_core::model::Timestamp;
use totp_rs::{Builder, Secret as TotpSecret};

use super::*;
use crate::identity::TokenKind;

const PASSWORD: &str = "correct horse battery";
pub(super) const ANA: &str = "ana@example.org";

/// A clock that stands still until it is moved.
#[derive(Debug)]
struct Moved(AtomicI64);

impl Moved {
    fn by(&self, time: Duration) {
        self.0.fetch_add(time.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

pub(super) struct Scene {
    pub(super) asked: Asked,
    identity: Arc<Identity>,
    clock: Arc<Moved>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Moved(AtomicI64::new(1_800_000_000_000_000)));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Self::over(store, clock, folder.into())
    }

    fn over(store: Arc<MemoryStore>, clock: Arc<Moved>, folder: Arc<tempfile::TempDir>) -> Self {
        let identity = an_identity(store.clone(), clock.clone(), folder.path());
        let identity = Arc::new(identity);
        let router = router(an_api_over(store.clone(), identity.clone(), folder.path()));
        Self {
            asked: Asked {
                store,
                router,
                folder,
            },
            identity,
            clock,
        }
    }

    /// Another server over the same store.
    fn beside(&self) -> Self {
        let store = self.asked.store.clone();
        Self::over(store, self.clock.clone(), self.asked.folder.clone())
    }

    /// With Ana as the first admin, and her tokens.
    pub(super) async fn with_ana() -> (Self, Value) {
        let scene = Self::new();
        let token = scene.identity.setup_token().await.unwrap().unwrap();
        let body = json!({ "token": token.expose(), "email": ANA, "password": PASSWORD });
        let answer = scene.post("/auth/setup", "", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        (scene, answer.body)
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        head: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in head {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.asked.send(request.body(body).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send("GET", path, token, &[], None).await
    }

    pub(super) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.send("POST", path, token, &[], Some(body)).await
    }

    async fn login(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.post("/auth/login", "", &body).await
    }

    /// Tokens of a sign-in that has to succeed.
    pub(super) async fn tokens(&self, email: &str) -> Value {
        let answer = self.login(email, PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    async fn refresh(&self, token: &Value) -> Answer {
        self.post("/auth/refresh", "", &json!({ "refresh_token": token }))
            .await
    }

    /// A user, made by Ana. Gives the user and the tag.
    pub(super) async fn user(&self, ana: &Value, email: &str, role: &str) -> (Value, String) {
        let body = json!({ "email": email, "password": PASSWORD, "role": role });
        let answer = self.post("/users", access(ana), &body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let tag = answer.headers["etag"].to_str().unwrap().to_owned();
        let location = answer.headers["location"].to_str().unwrap();
        assert_eq!(
            location,
            format!("/api/v1/users/{}", answer.body["id"].as_str().unwrap())
        );
        (answer.body, tag)
    }

    /// The code of an app at this time.
    fn code(&self, secret: &Value) -> String {
        let secret = TotpSecret::try_from_base32(secret.as_str().unwrap()).unwrap();
        let totp = Builder::new().with_secret(secret).build().unwrap();
        let now = self.clock.now().as_micros() / 1_000_000;
        totp.generate(now as u64).to_string()
    }

    /// Turns on Ana's second factor. Gives its secret and the recovery codes.
    async fn second_factor(&self, ana: &Value) -> (Value, Value) {
        let enrolled = self
            .post(
                "/auth/mfa/enroll",
                access(ana),
                &json!({ "password": PASSWORD }),
            )
            .await;
        assert_eq!(enrolled.status, 200, "{}", enrolled.body);
        let secret = enrolled.body["secret"].clone();
        let url = enrolled.body["otpauth_url"].as_str().unwrap();
        assert!(
            url.starts_with("otpauth://totp/etl:ana%40example.org?"),
            "{url}"
        );
        let body = json!({ "mfa_token": enrolled.body["mfa_token"], "code": self.code(&secret) });
        let on = self.post("/auth/mfa/verify", "", &body).await;
        assert_eq!(on.status, 200, "{}", on.body);
        (secret, on.body["recovery_codes"].clone())
    }
}

pub(super) fn access(tokens: &Value) -> &str {
    tokens["access_token"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_first_admin_is_made_by_whoever_has_the_token_and_nobody_after() {
    let scene = Scene::new();
    let token = scene.identity.setup_token().await.unwrap().unwrap();
    let other = scene.identity.setup_token().await.unwrap().unwrap();
    let body = |token: &str, email: &str, password: &str| json!({ "token": token, "email": email, "password": password });
    let wrong = TokenKind::Setup.token().unwrap();
    scene
        .post("/auth/setup", "", &body(wrong.expose(), ANA, PASSWORD))
        .await
        .is_problem(401);
    scene
        .post("/auth/setup", "", &body("", ANA, PASSWORD))
        .await
        .is_problem(401);
    // What can't be taken does not cost the token.
    scene
        .post(
            "/auth/setup",
            "",
            &body(token.expose(), ANA, "password1234"),
        )
        .await
        .is_problem(422);
    scene
        .post("/auth/setup", "", &body(token.expose(), "ana", PASSWORD))
        .await
        .is_problem(422);
    let made = scene
        .post("/auth/setup", "", &body(token.expose(), ANA, PASSWORD))
        .await;
    assert_eq!(made.status, 200, "{}", made.body);
    let me = scene.get("/auth/me", access(&made.body)).await.body;
    assert_eq!(me["role"], "admin");
    scene
        .post(
            "/auth/setup",
            "",
            &body(token.expose(), "bia@example.org", PASSWORD),
        )
        .await
        .is_problem(401);
    scene
        .post(
            "/auth/setup",
            "",
            &body(other.expose(), "bia@example.org", PASSWORD),
        )
        .await
        .is_problem(409);
    assert_eq!(scene.identity.setup_token().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_by_refresh_and_ends_by_logout() {
    let (scene, _) = Scene::with_ana().await;
    let first = scene.tokens("ANA@example.org").await;
    assert_eq!(first["token_type"], "Bearer");
    assert_eq!(first["expires_in"], 900);
    let me = scene.get("/auth/me", access(&first)).await;
    assert_eq!(me.body["email"], ANA);
    let second = scene.refresh(&first["refresh_token"]).await.body;
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    for token in [&first, &second] {
        assert_eq!(scene.get("/jobs", access(token)).await.status, 200);
    }
    // An access token is good for a quarter of an hour, whatever its session does.
    scene.clock.by(Duration::from_mins(15));
    scene.get("/jobs", access(&first)).await.is_problem(401);
    let third = scene.refresh(&second["refresh_token"]).await.body;
    assert_eq!(scene.get("/jobs", access(&third)).await.status, 200);

    let out = scene
        .send("POST", "/auth/logout", access(&third), &[], None)
        .await;
    assert_eq!(out.status, 204);
    scene.get("/jobs", access(&third)).await.is_problem(401);
    scene.refresh(&third["refresh_token"]).await.is_problem(401);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_comes_twice_ends_its_session() {
    let (scene, ana) = Scene::with_ana().await;
    let other = scene.tokens(ANA).await;
    let next = scene.refresh(&ana["refresh_token"]).await.body;
    // Whoever lost the answer asks again, and gets the same token.
    scene.clock.by(Duration::from_secs(9));
    let again = scene.refresh(&ana["refresh_token"]).await.body;
    assert_eq!(again["refresh_token"], next["refresh_token"]);
    scene.clock.by(Duration::from_secs(1));
    scene.refresh(&ana["refresh_token"]).await.is_problem(401);
    scene.refresh(&next["refresh_token"]).await.is_problem(401);
    scene.get("/jobs", access(&next)).await.is_problem(401);
    assert_eq!(scene.get("/jobs", access(&other)).await.status, 200);
    // Nor is another client believed to have lost an answer.
    let next = scene.refresh(&other["refresh_token"]).await.body;
    let body = json!({ "refresh_token": other["refresh_token"] });
    let thief = scene
        .send(
            "POST",
            "/auth/refresh",
            "",
            &[("user-agent", "thief")],
            Some(&body),
        )
        .await;
    thief.is_problem(401);
    scene.refresh(&next["refresh_token"]).await.is_problem(401);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_refreshes_of_one_token_leave_one_branch_or_none() {
    let (scene, ana) = Scene::with_ana().await;
    let all =
        futures_util::future::join_all((0..100).map(|_| scene.refresh(&ana["refresh_token"])))
            .await;
    let mut next: Vec<_> = all
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.body["refresh_token"].to_string())
        .collect();
    next.sort();
    next.dedup();
    assert_eq!(next.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_token_is_taken_for_another() {
    let (scene, ana) = Scene::with_ana().await;
    let key = json!({ "name": "ci", "scopes": ["jobs:read"] });
    let key = scene.post("/api-keys", access(&ana), &key).await.body["key"].clone();
    for token in [
        &ana["refresh_token"],
        &json!(""),
        &json!("x"),
        &json!("null"),
        &json!(format!("{} ", access(&ana))),
    ] {
        scene
            .get("/jobs", token.as_str().unwrap())
            .await
            .is_problem(401);
    }
    for token in [&ana["access_token"], &key, &json!("")] {
        scene.refresh(token).await.is_problem(401);
    }
    assert_eq!(scene.get("/jobs", key.as_str().unwrap()).await.status, 200);
    for scheme in ["", "Basic ", "Bearer  ", "Bearer\t", "Token "] {
        let header = format!("{scheme}{}", access(&ana));
        let answer = scene
            .send("GET", "/jobs", "", &[("authorization", &header)], None)
            .await;
        answer.is_problem(401);
    }
}

#[tokio::test(start_paused = true)]
async fn whether_there_is_a_user_can_not_be_told() {
    let (scene, _) = Scene::with_ana().await;
    for _ in 0..5 {
        let asked = tokio::time::Instant::now();
        let mut known = scene.login(ANA, "not the password").await;
        let known_took = asked.elapsed();
        let asked = tokio::time::Instant::now();
        let mut unknown = scene.login("nobody@example.org", "not the password").await;
        assert_eq!(asked.elapsed(), known_took);
        known.is_problem(401);
        for answer in [&mut known, &mut unknown] {
            answer.body["trace_id"] = Value::Null;
        }
        assert_eq!(known.body, unknown.body);
    }
    for email in [ANA, "nobody@example.org"] {
        let waits = scene.login(email, PASSWORD).await;
        waits.is_problem(429);
        assert_eq!(waits.headers["retry-after"], "1", "{email}");
    }
    scene.clock.by(Duration::from_secs(1));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(scene.login(ANA, PASSWORD).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn nor_can_it_be_told_by_asking_another_server() {
    let (scene, _) = Scene::with_ana().await;
    let other = scene.beside();
    for email in [ANA, "nobody@example.org"] {
        for _ in 0..5 {
            scene.login(email, "not the password").await.is_problem(401);
        }
        scene.login(email, PASSWORD).await.is_problem(429);
        // The store knows that Ana has to wait, and nothing of the other one.
        other.login(email, PASSWORD).await.is_problem(401);
    }
    scene.clock.by(Duration::from_secs(1));
    assert_eq!(other.login(ANA, PASSWORD).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_fails_too_often_waits_whoever_it_tries() {
    let (scene, _) = Scene::with_ana().await;
    for guess in 0..50 {
        let email = format!("user{guess}@example.org");
        scene
            .login(&email, "not the password")
            .await
            .is_problem(401);
    }
    let refused = scene.login(ANA, PASSWORD).await;
    refused.is_problem(429);
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=72).contains(&wait), "{wait}");
    tokio::time::advance(Duration::from_secs(wait)).await;
    assert_eq!(scene.login(ANA, PASSWORD).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn another_password_ends_every_session_but_the_one_that_it_begins() {
    let (scene, ana) = Scene::with_ana().await;
    let other = scene.tokens(ANA).await;
    let change =
        |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
    let wrong = change("not the password", "another horse battery");
    scene
        .post("/auth/password", access(&ana), &wrong)
        .await
        .is_problem(401);
    scene
        .post(
            "/auth/password",
            access(&ana),
            &change(PASSWORD, "password12345"),
        )
        .await
        .is_problem(422);
    let changed = scene
        .post(
            "/auth/password",
            access(&ana),
            &change(PASSWORD, "another horse battery"),
        )
        .await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    for tokens in [&ana, &other] {
        scene.get("/jobs", access(tokens)).await.is_problem(401);
        scene
            .refresh(&tokens["refresh_token"])
            .await
            .is_problem(401);
    }
    assert_eq!(scene.get("/jobs", access(&changed.body)).await.status, 200);
    scene.login(ANA, PASSWORD).await.is_problem(401);
    assert_eq!(scene.login(ANA, "another horse battery").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_from_a_user_counts_at_once_here_and_soon_elsewhere() {
    let (scene, ana) = Scene::with_ana().await;
    let (bia, tag) = scene.user(&ana, "bia@example.org", "operator").await;
    let path = format!("/users/{}", bia["id"].as_str().unwrap());
    let tokens = scene.tokens("bia@example.org").await;
    let key = json!({ "name": "ci", "scopes": ["jobs:read"] });
    let key = scene.post("/api-keys", access(&tokens), &key).await.body["key"].clone();
    let key = key.as_str().unwrap();
    let other = an_identity(
        scene.asked.store.clone(),
        scene.clock.clone(),
        Path::new(""),
    );
    let bearer = format!("Bearer {key}");
    assert!(other.principal(Some(&bearer)).await.is_ok());
    assert_eq!(scene.get("/jobs", access(&tokens)).await.status, 200);

    let edit = json!({ "email": "bia@example.org", "role": "operator", "is_active": false });
    let edited = scene
        .send(
            "PUT",
            &path,
            access(&ana),
            &[("if-match", &tag)],
            Some(&edit),
        )
        .await;
    assert_eq!(edited.status, 200, "{}", edited.body);
    assert_eq!(edited.headers["etag"], "\"2\"");
    scene.get("/jobs", access(&tokens)).await.is_problem(401);
    scene.get("/jobs", key).await.is_problem(401);
    scene
        .refresh(&tokens["refresh_token"])
        .await
        .is_problem(401);
    scene
        .login("bia@example.org", PASSWORD)
        .await
        .is_problem(401);
    // Another process has seen the key a moment ago.
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(other.principal(Some(&bearer)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_user_is_changed_by_whoever_knows_the_version() {
    let (scene, ana) = Scene::with_ana().await;
    let (bia, tag) = scene.user(&ana, "bia@example.org", "viewer").await;
    let path = format!("/users/{}", bia["id"].as_str().unwrap());
    let edit = json!({ "email": "bia@example.com", "role": "operator", "is_active": true });
    let put = |head: Vec<(&'static str, String)>, edit: Value| {
        let (scene, path, token) = (&scene, &path, access(&ana));
        async move {
            let head: Vec<_> = head.iter().map(|(name, value)| (*name, &**value)).collect();
            scene.send("PUT", path, token, &head, Some(&edit)).await
        }
    };
    put(vec![], edit.clone()).await.is_problem(428);
    for (tag, status) in [
        ("\"7\"", 412),
        ("1", 400),
        ("*", 400),
        ("W/\"1\"", 400),
        ("\"1\", \"2\"", 400),
    ] {
        put(vec![("if-match", tag.into())], edit.clone())
            .await
            .is_problem(status);
    }
    let mut with_id = edit.clone();
    with_id["id"] = json!(Uuid::nil());
    put(vec![("if-match", tag.clone())], with_id)
        .await
        .is_problem(422);
    let edited = put(vec![("if-match", tag.clone())], edit.clone()).await;
    assert_eq!(edited.body["email"], "bia@example.com");
    assert_eq!(edited.body["version"], 2);
    put(vec![("if-match", tag)], edit).await.is_problem(412);
    let read = scene.get(&path, access(&ana)).await;
    assert_eq!(read.body, edited.body);
    assert!(read.body.get("password_hash").is_none());
    let list = scene.get("/users?limit=1", access(&ana)).await.body;
    assert_eq!(list["items"][0]["email"], ANA);
    assert!(list["next_cursor"].is_string());

    let taken = json!({ "email": "Ana@example.org", "password": PASSWORD, "role": "viewer" });
    scene
        .post("/users", access(&ana), &taken)
        .await
        .is_problem(409);
    let removed = scene
        .send(
            "DELETE",
            &path,
            access(&ana),
            &[("if-match", "\"2\"")],
            None,
        )
        .await;
    assert_eq!(removed.status, 204);
    scene.get(&path, access(&ana)).await.is_problem(404);
    // Somebody has to be able to administer.
    let me = scene.get("/auth/me", access(&ana)).await.body;
    let own = format!("/users/{}", me["id"].as_str().unwrap());
    let last = scene
        .send("DELETE", &own, access(&ana), &[("if-match", "\"1\"")], None)
        .await;
    last.is_problem(409);
}

#[tokio::test(start_paused = true)]
async fn an_admin_ends_the_sessions_of_a_user() {
    let (scene, ana) = Scene::with_ana().await;
    let (bia, _) = scene.user(&ana, "bia@example.org", "viewer").await;
    let tokens = scene.tokens("bia@example.org").await;
    let path = format!("/users/{}/sessions", bia["id"].as_str().unwrap());
    let sessions = scene.get(&path, access(&ana)).await.body;
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1);
    scene.get(&path, access(&tokens)).await.is_problem(403);
    let ended = scene.send("DELETE", &path, access(&ana), &[], None).await;
    assert_eq!(ended.status, 204);
    scene.get("/jobs", access(&tokens)).await.is_problem(401);
    scene
        .refresh(&tokens["refresh_token"])
        .await
        .is_problem(401);
    let nobody = format!("/users/{}/sessions", Uuid::now_v7());
    scene
        .send("DELETE", &nobody, access(&ana), &[], None)
        .await
        .is_problem(404);
}

#[tokio::test(start_paused = true)]
async fn whoever_sees_a_session_of_theirs_that_is_not_theirs_ends_it() {
    let (scene, ana) = Scene::with_ana().await;
    let other = scene.tokens(ANA).await;
    let me = scene.get("/auth/me", access(&other)).await.body;
    let sessions = scene.get("/auth/sessions", access(&ana)).await.body;
    assert_eq!(sessions["items"].as_array().unwrap().len(), 2);
    assert_eq!(sessions["items"][0]["id"], me["session_id"]);
    let path = format!("/auth/sessions/{}", me["session_id"].as_str().unwrap());
    let (_, _) = scene.user(&ana, "bia@example.org", "admin").await;
    let bia = scene.tokens("bia@example.org").await;
    let end = |tokens: Value| {
        let (scene, path) = (&scene, &path);
        async move {
            let sent = scene.send("DELETE", path, access(&tokens), &[], None);
            sent.await
        }
    };
    end(bia).await.is_problem(404);
    assert_eq!(end(ana.clone()).await.status, 204);
    end(ana.clone()).await.is_problem(404);
    scene.get("/jobs", access(&other)).await.is_problem(401);
    assert_eq!(scene.get("/jobs", access(&ana)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_api_key_does_what_its_scopes_name_and_is_shown_once() {
    let (scene, ana) = Scene::with_ana().await;
    let body = json!({ "name": "ci", "scopes": ["jobs:read", "users:read"], "expires_in_days": 1 });
    let made = scene.post("/api-keys", access(&ana), &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let key = made.body["key"].as_str().unwrap();
    assert!(key.starts_with(made.body["prefix"].as_str().unwrap()));
    let listed = scene.get("/api-keys", access(&ana)).await.body;
    assert_eq!(listed["items"][0]["id"], made.body["id"]);
    assert!(!listed.to_string().contains(key));
    assert_eq!(scene.get("/users", key).await.status, 200);
    scene.get("/pipelines", key).await.is_problem(403);
    let me = scene.get("/auth/me", key).await.body;
    assert_eq!(me["permissions"], json!(["jobs:read", "users:read"]));
    // It makes no other key and changes no password.
    scene.post("/api-keys", key, &body).await.is_problem(403);
    for scope in ["jobs:write", "*", ""] {
        let body = json!({ "name": "ci", "scopes": [scope] });
        let refused = scene.post("/api-keys", access(&ana), &body).await;
        refused.is_problem(422);
        assert_eq!(refused.body["errors"][0]["pointer"], "/scopes/0");
    }
    let path = format!("/api-keys/{}", made.body["id"].as_str().unwrap());
    let (_, _) = scene.user(&ana, "bia@example.org", "admin").await;
    let bia = scene.tokens("bia@example.org").await;
    scene
        .send("DELETE", &path, access(&bia), &[], None)
        .await
        .is_problem(404);
    assert_eq!(
        scene
            .send("DELETE", &path, access(&ana), &[], None)
            .await
            .status,
        204
    );
    scene.get("/users", key).await.is_problem(401);

    let short = scene.post("/api-keys", access(&ana), &body).await.body;
    scene.clock.by(Duration::from_hours(24));
    scene
        .get("/users", short["key"].as_str().unwrap())
        .await
        .is_problem(401);
}

#[tokio::test(start_paused = true)]
async fn a_second_factor_is_asked_for_and_each_code_is_good_once() {
    let (scene, ana) = Scene::with_ana().await;
    let (secret, _) = scene.second_factor(&ana).await;
    let asked = scene.login(ANA, PASSWORD).await.body;
    assert!(asked.get("access_token").is_none());
    let token = asked["mfa_token"].as_str().unwrap();
    scene.get("/jobs", token).await.is_problem(401);
    let verify = |token: &Value, code: String| {
        let (scene, body) = (&scene, json!({ "mfa_token": token, "code": code }));
        async move { scene.post("/auth/mfa/verify", "", &body).await }
    };
    // The code that turned it on is used up.
    verify(&asked["mfa_token"], scene.code(&secret))
        .await
        .is_problem(401);
    scene.clock.by(Duration::from_secs(30));
    let code = scene.code(&secret);
    let other = scene.login(ANA, PASSWORD).await.body;
    let all = [&asked, &other]
        .map(|asked| vec![asked["mfa_token"].clone(); 2])
        .concat();
    let all =
        futures_util::future::join_all(all.iter().map(|token| verify(token, code.clone()))).await;
    let good: Vec<_> = all.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(good.len(), 1);
    assert_eq!(scene.get("/jobs", access(&good[0].body)).await.status, 200);
    // A code of a step ago, and one of long ago.
    scene.clock.by(Duration::from_secs(30));
    let late = scene.code(&secret);
    scene.clock.by(Duration::from_secs(30));
    let asked = scene.login(ANA, PASSWORD).await.body;
    assert_eq!(verify(&asked["mfa_token"], late).await.status, 200);
    let old = scene.code(&secret);
    scene.clock.by(Duration::from_mins(1));
    let asked = scene.login(ANA, PASSWORD).await.body;
    verify(&asked["mfa_token"], old).await.is_problem(401);
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_over_after_five_wrong_codes_or_five_minutes() {
    let (scene, ana) = Scene::with_ana().await;
    let (secret, _) = scene.second_factor(&ana).await;
    scene.clock.by(Duration::from_secs(30));
    let asked = scene.login(ANA, PASSWORD).await.body;
    let right = json!({ "mfa_token": asked["mfa_token"], "code": scene.code(&secret) });
    for wrong in [
        "000000",
        "00000",
        "",
        "12345a",
        "AAAAA-AAAAA-AAAAA-AAAAA-AAAAA",
    ] {
        let body = json!({ "mfa_token": asked["mfa_token"], "code": wrong });
        scene
            .post("/auth/mfa/verify", "", &body)
            .await
            .is_problem(401);
    }
    scene
        .post("/auth/mfa/verify", "", &right)
        .await
        .is_problem(401);
    let asked = scene.login(ANA, PASSWORD).await.body;
    scene.clock.by(Duration::from_mins(5));
    let late = json!({ "mfa_token": asked["mfa_token"], "code": scene.code(&secret) });
    scene
        .post("/auth/mfa/verify", "", &late)
        .await
        .is_problem(401);
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_app_has_codes_that_are_good_once() {
    let (scene, ana) = Scene::with_ana().await;
    let (_, codes) = scene.second_factor(&ana).await;
    let codes = codes.as_array().unwrap();
    assert_eq!(codes.len(), 10);
    let verify = |code: String| {
        let scene = &scene;
        async move {
            let asked = scene.login(ANA, PASSWORD).await.body;
            let body = json!({ "mfa_token": asked["mfa_token"], "code": code });
            scene.post("/auth/mfa/verify", "", &body).await
        }
    };
    let code = codes[3].as_str().unwrap();
    // However it is typed.
    let typed = code.to_lowercase().replace('-', " ");
    assert_eq!(verify(typed).await.status, 200);
    verify(code.into()).await.is_problem(401);
    let tokens = verify(codes[4].as_str().unwrap().into()).await.body;

    let again = scene
        .post(
            "/auth/mfa/enroll",
            access(&tokens),
            &json!({ "password": PASSWORD }),
        )
        .await;
    again.is_problem(409);
    let wrong = json!({ "password": PASSWORD, "code": "000000" });
    scene
        .post("/auth/mfa/disable", access(&tokens), &wrong)
        .await
        .is_problem(401);
    let right = json!({ "password": PASSWORD, "code": codes[5] });
    let off = scene
        .post("/auth/mfa/disable", access(&tokens), &right)
        .await;
    assert_eq!(off.status, 200, "{}", off.body);
    scene.get("/jobs", access(&tokens)).await.is_problem(401);
    assert_eq!(scene.get("/jobs", access(&off.body)).await.status, 200);
    assert!(scene.login(ANA, PASSWORD).await.body["access_token"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_says_more_than_is_asked_for_does_nothing() {
    let (scene, ana) = Scene::with_ana().await;
    for (path, body) in [
        (
            "/auth/login",
            json!({ "email": ANA, "password": PASSWORD, "role": "admin" }),
        ),
        (
            "/auth/login",
            json!({ "email": [ANA], "password": PASSWORD }),
        ),
        (
            "/auth/login",
            json!({ "email": ANA, "password": "x".repeat(129) }),
        ),
        ("/auth/login", json!([ANA, PASSWORD])),
        ("/auth/refresh", json!({ "refresh_token": null })),
        (
            "/users",
            json!({ "email": "b@example.org", "password": PASSWORD, "role": "root" }),
        ),
        (
            "/users",
            json!({ "email": "b@example.org", "password": PASSWORD, "role": "viewer", "id": Uuid::nil() }),
        ),
        (
            "/users",
            json!({ "email": "b@example.org", "password": PASSWORD, "role": "viewer", "epoch": 9 }),
        ),
        (
            "/api-keys",
            json!({ "name": "x", "scopes": ["jobs:read"], "user_id": Uuid::nil() }),
        ),
    ] {
        let refused = scene.post(path, access(&ana), &body).await;
        refused.is_problem(422);
        assert!(
            !refused.body.to_string().contains(PASSWORD),
            "{}",
            refused.body
        );
    }
}

#[tokio::test]
async fn a_sign_in_that_is_refused_is_noted_with_where_it_came_from() {
    let (scene, tokens) = Scene::with_ana().await;
    let wrong = json!({ "email": ANA, "password": "wrong horse battery" });
    let refused = scene.post("/auth/login", "", &wrong).await;
    refused.is_problem(401);
    let token = tokens["access_token"].as_str().unwrap();
    let rows = scene
        .send("GET", "/audit?action=session.refuse", token, &[], None)
        .await;
    let rows = rows.body["items"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["resource_id"], "/api/v1/auth/login");
    assert_eq!(rows[0]["trace_id"], refused.body["trace_id"]);
    assert_eq!(rows[0]["ip_address"], "0.0.0.0");
    assert!(!rows[0].to_string().contains("wrong horse"));
}
