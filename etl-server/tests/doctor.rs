//! `etl doctor`: what it finds fine, and what it finds wrong.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use program::Program;
use serde_json::{Value, json};

fn check<'a>(found: &'a Value, name: &str) -> &'a Value {
    let checks = found["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check of {name}: {found}"))
}

#[test]
fn where_nothing_is_wrong_every_check_is_ok() {
    let program = Program::new();
    let before = program.run(&["doctor"]).expect(0);
    assert!(before.stdout.contains("no database yet"), "{before:?}");
    let file = program.pipeline(
        "name: fine\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n",
    );
    program.run(&["run", &file]).expect(0);
    let found = program.run(&["doctor", "--json"]).expect(0).json();
    assert_eq!(found["ok"], json!(true));
    for name in ["store", "clock", "queue", "events", "storage"] {
        assert_eq!(check(&found, name)["ok"], json!(true), "{found}");
    }
    assert_eq!(found["rows"], json!([]));
    // What it tried the storage with is gone.
    let told = program.run(&["doctor"]).expect(0);
    assert!(told.stdout.contains("nothing is open"), "{told:?}");
    let left = walkdir(&program.path(".etl/data"));
    assert!(!left.iter().any(|name| name.contains("doctor")), "{left:?}");
}

fn walkdir(folder: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                walkdir(&path)
            } else {
                vec![path.display().to_string()]
            }
        })
        .collect()
}

#[test]
fn what_a_killed_run_left_is_shown_with_what_moves_it() {
    let program = Program::new();
    let file = program.pipeline(
        "name: killer\nsteps:\n  - { name: a, connector_type: command, config: { argv: [sh, -c, \"kill -9 $(ps -o ppid= -p $$)\"] } }\n  - { name: b, connector_type: sleep, config: { seconds: 0 }, dependencies: [a] }\n",
    );
    program.run(&["run", &file]);
    let found = program.run(&["doctor", "--json"]).expect(0).json();
    let rows = found["rows"].as_array().unwrap();
    let kinds: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["kind"].as_str().unwrap(),
                row["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [("job", "running"), ("step", "running"), ("step", "pending")]
    );
    let job = &rows[0];
    assert!(
        job["owner"].as_str().unwrap().starts_with("worker "),
        "{job}"
    );
    assert!(job["deadline"].is_string(), "{job}");
    assert!(job["rule"].as_str().unwrap().contains("reaper"), "{job}");
    let told = program.run(&["doctor", "--all"]).expect(0);
    assert!(told.stdout.contains("default/killer"), "{told:?}");
}

#[tokio::test]
async fn a_job_that_nobody_takes_is_found_and_the_exit_status_says_so() {
    let program = Program::new();
    let file = program.pipeline(
        "name: waits\nsteps: [{ name: a, connector_type: sleep, config: { seconds: 0 } }]\n",
    );
    program.run(&["submit", &file]).expect(0);
    program.run(&["doctor"]).expect(0);
    // As if it had been submitted an hour ago.
    program
        .query(
            ".etl/etl.db",
            "UPDATE job_executions SET created_at = '2024-01-01T00:00:00.000000Z'",
        )
        .await;
    let found = program.run(&["doctor", "--json"]).expect(1).json();
    assert_eq!(found["ok"], json!(false));
    let row = &found["rows"][0];
    assert!(
        row["problem"]
            .as_str()
            .unwrap()
            .contains("no worker holds a job"),
        "{row}"
    );
    let told = program.run(&["doctor"]).expect(1);
    assert!(told.stdout.contains("etl serve --role worker"), "{told:?}");
}

#[test]
fn a_system_that_can_not_be_used_is_named_with_what_to_do_and_no_password() {
    let program = Program::new();
    program.file("taken", "a file where a folder should be");
    let environment = [
        ("ETL_QUEUE_URL", "amqp://me:s3cret@127.0.0.1:1/%2f"),
        ("ETL_EVENTS_URL", "redis://me:s3cret@127.0.0.1:1/0"),
        ("ETL_STORAGE_URL", "file://taken/data"),
        ("ETL_DATABASE_URL", "postgres://me:s3cret@127.0.0.1:1/db"),
    ];
    let finished = program
        .run_with(&["doctor", "--json"], &environment)
        .expect(3);
    let found = finished.json();
    for name in ["store", "queue", "events", "storage"] {
        let check = check(&found, name);
        assert_eq!(check["ok"], json!(false), "{found}");
        assert!(check["hint"].is_string(), "{found}");
    }
    assert!(!format!("{finished:?}").contains("s3cret"), "{finished:?}");
}
