//! A deployment on Postgres: what is told to stop gives its jobs to others. What happens when it is not told, and just dies, is in
//! `crashes`.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::net::TcpListener;

use nix::sys::signal::Signal;
use program::Program;
use program::database::Database;
use program::relay::Relay;
use program::server::Server;
use serde_json::Value;

#[tokio::test]
async fn a_worker_that_is_told_to_stop_gives_its_jobs_to_another() {
    let (program, database) = (Program::new(), Database::new().await);
    let url = database.url();
    let environment = [("ETL_DATABASE_URL", url.as_str())];
    let file = program.pipeline(
        "name: long
steps:
  - { name: a, connector_type: sleep, config: { seconds: 5 } }
",
    );
    let mut first = Server::start(&program, &["worker"], &environment).wait_until_up();
    let id = program.run_with(&["submit", &file], &environment).expect(0);
    let id = id.stdout.trim().to_owned();
    let status = || -> Value {
        program
            .run_with(&["job", &id, "--json"], &environment)
            .json()["status"]
            .clone()
    };
    program::wait_until("running", || status() == "running");
    // More than once: at once. Signals that come together may be one, so they are sent until it is gone.
    program::wait_until("gone", || {
        let is_running = first.is_running();
        if is_running {
            first.signal(Signal::SIGTERM);
        }
        !is_running
    });
    assert!(first.ends_well());
    assert_eq!(status(), "pending");
    let _second = Server::start(&program, &["worker"], &environment);
    program::wait_until("success", || status() == "success");
    database.drop().await;
}

#[test]
fn an_interrupt_is_heard_while_the_store_is_being_opened() {
    let program = Program::new();
    let file = program
        .pipeline("name: p\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n");
    let job = "0199c2f4-5b5e-7d31-9a52-0d4f6f1f6f10";
    let stretch = ["--from", "2024-01-01", "--to", "2024-01-02"];
    for command in [
        &["serve"][..],
        &["submit", &file],
        &["retry", job],
        &["logs", job],
        &[&["backfill", "p"][..], &stretch].concat(),
    ] {
        // It takes connections and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://etl@{}/etl", silent.local_addr().unwrap());
        let running = program.spawn(&[command, &["--database-url", &url]].concat());
        let _connection = silent.accept().unwrap();
        running.interrupt();
        let interrupted = running.finish();
        assert_eq!(interrupted.status, 130, "{command:?}: {interrupted:?}");
    }
}

#[tokio::test]
async fn a_job_id_is_told_at_once_though_the_broker_does_not_answer() {
    let (program, database) = (Program::new(), Database::new().await);
    // It takes connections and says nothing.
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let queue = format!("amqp://etl:canary@{}", broker.local_addr().unwrap());
    let url = database.url();
    let environment = [
        ("ETL_DATABASE_URL", url.as_str()),
        ("ETL_QUEUE_URL", queue.as_str()),
    ];
    let file = program
        .pipeline("name: p\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n");
    program.run_with(&["migrate"], &environment).expect(0);
    let submitted = program.run_with(&["submit", &file], &environment).expect(0);
    assert_eq!(
        submitted.stdout.trim(),
        program.run_with(&["jobs", "--json"], &environment).json()["items"][0]["id"]
    );
    assert!(submitted.stderr.contains("were not told"), "{submitted:?}");
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_job_sits_out_that_the_store_can_not_be_reached() {
    let (program, database) = (Program::new(), Database::new().await);
    let relay = Relay::to(database.address()).await;
    let url = database.url();
    let file = program.pipeline(
        "name: gated
steps:
  - { name: a, connector_type: command, config: { argv: [sh, -c, 'touch begun; until [ -e go ]; do sleep 0.02; done'] } }
",
    );
    let key = program.key_file();
    let environment = [
        ("ETL_DATABASE_URL", url.as_str()),
        ("ETL_MASTER_KEY_FILE", key.as_str()),
    ];
    let _server = Server::start(&program, &[], &environment).wait_until_up();
    let by_relay = relay.instead_of(database.address(), &url);
    let mut waiting = program.spawn(&[
        "submit",
        &file,
        "--wait",
        "--json",
        "--database-url",
        &by_relay,
    ]);
    program::wait_until("the job runs", || program.path("begun").exists());
    relay.cut();
    waiting.wait_for_line("can't be reached");
    relay.mend();
    waiting.wait_for_line("answers again");
    program.file("go", "");
    let waited = waiting.finish();
    assert_eq!(waited.status, 0, "{waited:?}");
    assert_eq!(waited.json()["status"], "success");
    database.drop().await;
}

/// A step that says the hash of its credential.
const SECRET: &str = "name: secret
steps:
  - name: s
    connector_type: command
    credential: warehouse
    retry_count: 0
    config: { argv: [sh, -c, 'sha256sum < $ETL_CREDENTIAL_FILE | cut -c -16'] }
";

/// Two machines with a copy of the key file each: the next key is brought to both before it is used, and no job notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_over_two_machines_while_their_workers_run() {
    let database = Database::new().await;
    let url = database.url();
    let environment = [("ETL_DATABASE_URL", url.as_str())];
    let (here, there) = (Program::new(), Program::new());
    let secret = here.file("secret.json", r#"{"password":"canary-0d3b"}"#);
    let set = ["credential", "set", "warehouse", "--file", &secret];
    // Each machine would make another key: here nobody does.
    let refused = here.run_with(&set, &environment).expect(2);
    assert!(
        refused.stderr.contains("no file .etl/master.key"),
        "{refused:?}"
    );
    let key = |program: &Program| program.path(".etl/master.key");
    for program in [&here, &there] {
        std::fs::create_dir_all(program.path(".etl")).unwrap();
    }
    let make = here.shell("umask 077; head -c 32 /dev/urandom > .etl/master.key", &[]);
    make.expect(0);
    let copy = || std::fs::copy(key(&here), key(&there)).unwrap();
    copy();
    here.run_with(&set, &environment).expect(0);

    // Whoever runs jobs needs the key; who only fires schedules does not.
    let bare = Program::new();
    let serve = ["serve", "--role", "worker"];
    let refused = bare.run_with(&serve, &environment).expect(2);
    assert!(
        refused.stderr.contains("1 stored credential(s)"),
        "{refused:?}"
    );
    let doctor = bare.run_with(&["doctor", "--json"], &environment).json();
    let told = doctor["checks"].as_array().unwrap().iter();
    let vault = told
        .filter(|check| check["name"] == "vault")
        .collect::<Vec<_>>();
    assert_eq!(vault[0]["ok"], false, "{doctor}");

    let _servers = [
        Server::start(&here, &[], &environment),
        Server::start(&there, &[], &environment),
    ];
    let file = here.pipeline(SECRET);
    let mut said = Vec::new();
    let mut run = |jobs: usize| {
        for _ in 0..jobs {
            let submit = ["submit", &*file, "--wait", "--json"];
            let outcome = here.run_with(&submit, &environment).expect(0).json();
            said.push(
                outcome["steps"][0]["output"]["stdout"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    };
    run(4);
    for _ in 0..2 {
        here.run_with(&["keys", "rotate", "--stage"], &environment)
            .expect(0);
        copy();
        let rotate = ["keys", "rotate", "--json"];
        let rotation = here.run_with(&rotate, &environment).expect(0).json();
        assert_eq!(
            (&rotation["resealed"], &rotation["verified"]),
            (&1.into(), &1.into())
        );
        run(4);
        copy();
    }
    run(2);
    assert!(
        said.iter().all(|hash| hash == &said[0] && hash.len() == 17),
        "{said:?}"
    );
    let rows = database
        .rows("SELECT key_id, encode(encrypted_data, 'escape') FROM credentials")
        .await;
    assert!(!rows[0][1].contains("canary"));
    database.drop().await;
}
