//! A deployment on Postgres: what is told to stop gives its jobs to others. What happens when it is not told, and just dies, is in
//! `crashes`.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use nix::sys::signal::Signal;
use program::Program;
use program::database::Database;
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
    let mut first = Server::start(&program, &["worker"], &environment);
    let id = program.run_with(&["submit", &file], &environment).expect(0);
    let id = id.stdout.trim().to_owned();
    let status = || -> Value {
        program
            .run_with(&["job", &id, "--json"], &environment)
            .json()["status"]
            .clone()
    };
    program::wait_until("running", || status() == "running");
    // Twice: at once.
    for _ in 0..2 {
        first.signal(Signal::SIGTERM);
    }
    assert!(first.ends_well());
    assert_eq!(status(), "pending");
    let _second = Server::start(&program, &["worker"], &environment);
    program::wait_until("success", || status() == "success");
    database.drop().await;
}
