//! People who sign in to the program's own server.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::time::{SystemTime, UNIX_EPOCH};

use program::database::Database;
use program::http::ask;
use program::server::Server;
use program::{Program, lines};
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

const PASSWORD: &str = "correct horse battery";

fn login(address: &str, email: &str) -> Value {
    let body = json!({ "email": email, "password": PASSWORD });
    let answer = ask(address, "POST", "/api/v1/auth/login", "", Some(&body));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn token(answer: &Value) -> &str {
    answer["access_token"].as_str().unwrap()
}

#[test]
fn the_first_admin_comes_in_by_the_token_that_the_server_tells() {
    let program = Program::new();
    let server = Server::start(&program, &[], &[]).wait_until_up();
    let address = server.address();
    let jobs = |token: &str| ask(&address, "GET", "/api/v1/jobs", token, None).status;
    assert_eq!(jobs(""), 401);
    program::wait_until("a set-up token", || server.setup_token().is_some());
    let setup = server.setup_token().unwrap();
    let body = json!({ "token": setup, "email": "ana@example.org", "password": PASSWORD });
    let ana = ask(&address, "POST", "/api/v1/auth/setup", "", Some(&body));
    assert_eq!(ana.status, 200, "{ana:?}");
    assert_eq!(jobs(token(&ana.body)), 200);
    assert_eq!(jobs(token(&login(&address, "ana@example.org"))), 200);
    let again = ask(&address, "POST", "/api/v1/auth/setup", "", Some(&body));
    assert_eq!(again.status, 401);

    // Another one, made beside the server, with a password of a pipe.
    let create = "printf '%s\\n' 'correct horse battery' | \"$ETL\" \"$@\"";
    let made = program
        .shell(
            create,
            &[
                "user",
                "create",
                "bia@example.org",
                "--role",
                "viewer",
                "--json",
            ],
        )
        .expect(0);
    assert_eq!(made.json()["role"], "viewer");
    let bia = login(&address, "bia@example.org");
    assert_eq!(jobs(token(&bia)), 200);
    let users = ask(&address, "GET", "/api/v1/users", token(&bia), None);
    assert_eq!(users.status, 403);
    drop(server);

    // Sessions outlive the process, and nobody is asked for any more.
    let server = Server::start(&program, &[], &[]).wait_until_up();
    let address = server.address();
    assert_eq!(server.setup_token(), None);
    let answer = ask(&address, "GET", "/api/v1/auth/me", token(&bia), None);
    assert_eq!(answer.body["email"], "bia@example.org");
    let refresh = json!({ "refresh_token": bia["refresh_token"] });
    let next = ask(&address, "POST", "/api/v1/auth/refresh", "", Some(&refresh));
    assert_eq!(next.status, 200, "{next:?}");
    // Nothing of a secret is in the log.
    let log = lines(server.log()).join("\n");
    for secret in [
        PASSWORD,
        token(&bia),
        next.body["refresh_token"].as_str().unwrap(),
    ] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_one_database_behave_as_one() {
    let (program, database) = (Program::new(), Database::new().await);
    let (url, key) = (database.url(), program.key_file());
    let environment = [
        ("ETL_DATABASE_URL", url.as_str()),
        ("ETL_MASTER_KEY_FILE", key.as_str()),
    ];
    let create = "printf '%s' 'correct horse battery' | \"$ETL\" \"$@\"";
    program
        .shell(
            create,
            &[
                "user",
                "create",
                "ana@example.org",
                "--role",
                "admin",
                "--database-url",
                &url,
            ],
        )
        .expect(0);
    let servers = [(); 2].map(|()| Server::start(&program, &["api"], &environment).wait_until_up());
    let [one, other] = servers.each_ref().map(Server::address);
    let ana = login(&one, "ana@example.org");
    let me = |address: &str, answer: &Value| {
        ask(address, "GET", "/api/v1/auth/me", token(answer), None).status
    };
    assert_eq!(me(&other, &ana), 200);
    let refresh = |address: &str, token: &Value| {
        let body = json!({ "refresh_token": token });
        ask(address, "POST", "/api/v1/auth/refresh", "", Some(&body))
    };
    // Whoever lost the answer of one asks the other, and gets the same token.
    let next = refresh(&one, &ana["refresh_token"]).body;
    let again = refresh(&other, &ana["refresh_token"]).body;
    assert_eq!(next["refresh_token"], again["refresh_token"]);
    let out = ask(&one, "POST", "/api/v1/auth/logout", token(&next), None);
    assert_eq!(out.status, 204);
    assert_eq!(me(&one, &next), 401);
    program::wait_until("it counts at the other one", || me(&other, &next) == 401);
    assert_eq!(refresh(&other, &next["refresh_token"]).status, 401);
    drop(servers);
    database.drop().await;
}

/// The code that an app shows so many seconds from now.
fn code(secret: &Value, from_now: u64) -> String {
    let secret = Secret::try_from_base32(secret.as_str().unwrap()).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    totp.generate(now.as_secs() + from_now).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_good_once_over_all_servers_whatever_becomes_of_the_keys() {
    let (program, database) = (Program::new(), Database::new().await);
    let (url, key) = (database.url(), program.key_file());
    let environment = [
        ("ETL_DATABASE_URL", url.as_str()),
        ("ETL_MASTER_KEY_FILE", key.as_str()),
    ];
    let servers = [(); 2].map(|()| Server::start(&program, &["api"], &environment).wait_until_up());
    program::wait_until("a set-up token", || servers[0].setup_token().is_some());
    let addresses = servers.each_ref().map(Server::address);
    let post = |at: usize, path: &str, token: &str, body: &Value| {
        let path = format!("/api/v1/auth/{path}");
        ask(&addresses[at % 2], "POST", &path, token, Some(body))
    };
    let setup = servers[0].setup_token().unwrap();
    let body = json!({ "token": setup, "email": "ana@example.org", "password": PASSWORD });
    let ana = post(0, "setup", "", &body).body;
    let again = json!({ "password": PASSWORD });
    let factor = post(1, "mfa/enroll", token(&ana), &again).body;
    // What was sealed with the key before is opened with the one after it.
    let rotated = program.run_with(&["keys", "rotate", "--drop-old", "--json"], &environment);
    assert_eq!(rotated.expect(0).json()["second_factors"], 1);
    let secret = &factor["secret"];
    let body = json!({ "mfa_token": factor["mfa_token"], "code": code(secret, 0) });
    let on = post(0, "mfa/verify", "", &body);
    assert_eq!(on.status, 200, "{on:?}");

    let credentials = json!({ "email": "ana@example.org", "password": PASSWORD });
    let challenges: Vec<Value> = (0..3)
        .map(|at| post(at, "login", "", &credentials).body["mfa_token"].clone())
        .collect();
    let code = code(secret, 30);
    let good: usize = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..12)
            .map(|at| {
                let body = json!({ "mfa_token": challenges[at % 3], "code": code });
                let post = &post;
                scope.spawn(move || usize::from(post(at, "mfa/verify", "", &body).status == 200))
            })
            .collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).sum()
    });
    assert_eq!(good, 1);
    drop(servers);
    database.drop().await;
}

#[tokio::test]
async fn an_api_of_many_servers_has_to_have_their_key() {
    let (program, database) = (Program::new(), Database::new().await);
    let url = database.url();
    let words = ("ETL_MASTER_PASSPHRASE", "correct horse battery staple");
    for more in [&[][..], &[words]] {
        let environment = [&[("ETL_DATABASE_URL", &*url)], more].concat();
        let refused = program
            .run_with(&["serve", "--role", "api"], &environment)
            .expect(2);
        assert!(refused.stderr.contains("key file"), "{refused:?}");
        assert!(refused.stderr.contains("hint: "), "{refused:?}");
    }
    database.drop().await;
}

#[test]
fn a_user_is_only_made_with_an_address_and_a_password_that_can_be() {
    let program = Program::new();
    let create = |email: &str, password: &str| {
        let script = "printf '%s\\n' \"$PASSWORD\" | \"$ETL\" user create \"$1\" --role admin";
        let script = format!("PASSWORD='{password}'; {script}");
        program.shell(&script, &[email])
    };
    for (email, password) in [
        ("ana", PASSWORD),
        ("ana@example.org", ""),
        ("ana@example.org", "too short"),
        ("ana@example.org", "password1234"),
        ("ana@example.org", "ana@example.org"),
    ] {
        let refused = create(email, password).expect(2);
        assert!(refused.stderr.contains("error: "), "{refused:?}");
    }
    // Nothing was made of it.
    assert!(!program.path(".etl").exists());
    create("ana@example.org", PASSWORD).expect(0);
    let taken = create("Ana@Example.org", PASSWORD).expect(2);
    assert!(taken.stderr.contains("already"), "{taken:?}");
}
