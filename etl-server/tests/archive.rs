//! Logs that outlive the lines of the database.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use program::Program;
use std::time::{Duration, Instant};

use program::bucket::Bucket;
use program::database::Database;
use program::server::Server;
use sqlx::{Connection, SqliteConnection};

const TALKS: &str = "name: talks
steps:
  - { name: a, connector_type: command, config: { argv: [sh, -c, 'for n in $(seq 1 1200); do echo \"line $n\"; done'] } }
";

const QUIET: &str = "name: quiet
steps:
  - { name: a, connector_type: sleep, config: { seconds: 0 } }
";

fn logs(program: &Program, environment: &[(&str, &str)], job: &str) -> String {
    let logs = program.run_with(&["logs", job, "--json"], environment);
    logs.expect(0).stdout
}

#[tokio::test]
async fn a_run_archives_its_log_in_the_folder_and_logs_reads_what_the_database_lost() {
    let program = Program::new();
    let environment = [("ETL_LOG_ARCHIVE", "true")];
    let run = |text: &str| {
        let file = program.pipeline(text);
        let run = program.run_with(&["run", &file, "--json"], &environment);
        run.expect(0).json()["job_id"].as_str().unwrap().to_owned()
    };
    let (job, quiet) = (run(TALKS), run(QUIET));
    let said = logs(&program, &[], &job);
    assert!(said.lines().count() >= 1_200, "{said}");
    let archive = |job: &str| {
        program
            .path(".etl/data/jobs")
            .join(job)
            .join("log.ndjson.zst")
    };
    let text = zstd::decode_all(std::fs::File::open(archive(&job)).unwrap()).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), said);
    assert_eq!(
        archive(&quiet).exists(),
        !logs(&program, &[], &quiet).is_empty()
    );

    let forget = async |which: &'static str| {
        let url = format!("sqlite://{}", program.path(".etl/etl.db").display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(which).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    };
    forget("DELETE FROM job_logs WHERE seq <= 700").await;
    assert_eq!(logs(&program, &[], &job), said, "what is left comes once");
    forget("DELETE FROM job_logs").await;
    assert_eq!(logs(&program, &environment, &job), said);
    let text = program.run_with(&["logs", &job], &environment);
    let text = text.expect(0).stdout;
    assert!(text.contains("line 1200"), "{text}");

    std::fs::write(archive(&job), "damaged").unwrap();
    let refused = program.run_with(&["logs", &job], &environment).expect(3);
    assert!(refused.stderr.contains("archive"), "{refused:?}");
    std::fs::remove_file(archive(&job)).unwrap();
    assert_eq!(logs(&program, &environment, &job), "");
}

#[test]
fn a_log_that_can_not_be_written_keeps_no_other_from_its_archive() {
    let program = Program::new();
    let run = |environment: &[(&str, &str)]| {
        let file = program.pipeline(TALKS);
        let run = program.run_with(&["run", &file, "--json"], environment);
        run.expect(0).json()["job_id"].as_str().unwrap().to_owned()
    };
    let blocked = run(&[]);
    let jobs = program.path(".etl/data/jobs");
    let archive = |job: &str| jobs.join(job).join("log.ndjson.zst");
    // In the way of the file that is to be there.
    std::fs::create_dir_all(archive(&blocked).join("in the way")).unwrap();
    let next = run(&[("ETL_LOG_ARCHIVE", "true")]);
    assert!(archive(&next).is_file());
    assert!(archive(&blocked).is_dir());

    std::fs::remove_dir_all(archive(&blocked)).unwrap();
    run(&[("ETL_LOG_ARCHIVE", "true")]);
    assert!(archive(&blocked).is_file());
}

/// The storage is asked only for what may be there.
#[test]
fn a_log_whose_lines_are_all_there_needs_no_storage() {
    let program = Program::new();
    let file = program.pipeline(QUIET);
    let run = program.run(&["run", &file, "--json"]).expect(0).json();
    let job = run["job_id"].as_str().unwrap();
    let away = [
        ("ETL_STORAGE_URL", "s3://bucket/prefix"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    let said = logs(&program, &away, job);
    assert!(said.contains("job_completed"), "{said}");
    // That steps start and end is not said to people, who see it elsewhere.
    let text = program.run_with(&["logs", job], &away).expect(0).stdout;
    assert_eq!(text, "");
}

#[tokio::test]
async fn a_deployment_archives_logs_in_s3() {
    let (program, bucket, database) = (Program::new(), Bucket::new(), Database::new().await);
    let url = database.url();
    let mut environment = bucket.environment();
    environment.push(("ETL_DATABASE_URL", &url));
    let job = {
        let _worker = Server::start(&program, &["worker"], &environment).wait_until_up();
        let file = program.pipeline(TALKS);
        let submit = ["submit", &file, "--wait", "--json"];
        let outcome = program.run_with(&submit, &environment).expect(0).json();
        outcome["job_id"].as_str().unwrap().to_owned()
    };
    let said = logs(&program, &environment, &job);
    // As if it had ended some time ago: its last lines are there.
    let age = "SET session_replication_role = replica; UPDATE job_executions SET completed_at = completed_at - interval '1 hour'";
    database.run(age).await;

    // The storage is away at first.
    let mut away = environment.clone();
    away.retain(|(name, _)| *name != "AWS_ENDPOINT_URL");
    away.push(("AWS_ENDPOINT_URL", "http://127.0.0.1:9"));
    away.push(("ETL_LOG_ARCHIVE", "true"));
    let state = || async {
        let state = database.text("SELECT coalesce(log_archive, '') FROM job_executions");
        state.await
    };
    drop(Server::start(&program, &["scheduler"], &away).wait_until_up());
    assert_eq!(state().await, "");

    let mut archives = environment.clone();
    archives.push(("ETL_LOG_ARCHIVE", "true"));
    let _scheduler = Server::start(&program, &["scheduler"], &archives);
    let deadline = Instant::now() + Duration::from_mins(1);
    while state().await != "done" {
        assert!(Instant::now() < deadline, "not archived");
        tokio::task::yield_now().await;
    }
    database.run("DELETE FROM job_logs").await;
    assert_eq!(logs(&program, &archives, &job), said);
    database.drop().await;
}
