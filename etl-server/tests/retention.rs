//! How long jobs are kept, as the configuration says.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use program::bucket::{Bucket, get};
use program::database::Database;
use program::server::Server;
use program::{Program, wait_until};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

/// As if the job had been long ago.
const AGE: &str = "UPDATE job_executions SET created_at = '2024-01-01T00:00:00.000000Z', completed_at = '2024-01-01T00:00:00.000000Z'";

fn is_known(program: &Program, environment: &[(&str, &str)], job: &str) -> bool {
    program.run_with(&["job", job], environment).status == 0
}

/// A file has no other server than the next run.
#[tokio::test]
async fn a_run_forgets_old_jobs_of_its_file_with_their_artifacts() {
    let program = Program::new();
    program.file("in.csv", "id\n1\n");
    let file = program.pipeline(&copies("in.csv"));
    let run = |environment: &[(&str, &str)]| -> String {
        let run = program.run_with(&["run", &file, "--json"], environment);
        run.expect(0).json()["job_id"].as_str().unwrap().to_owned()
    };
    let (old, young) = (run(&[]), run(&[]));
    let folder = |job: &str| program.path(".etl/data/jobs").join(job);
    age(&program, &old).await;
    assert!(is_known(&program, &[], &old), "jobs are kept for ever");
    assert!(folder(&old).exists());

    // Runs are short: a later one goes on.
    wait_until("forgotten", || {
        run(&[("ETL_JOB_DAYS", "30")]);
        !is_known(&program, &[], &old)
    });
    assert!(!folder(&old).exists());
    assert!(is_known(&program, &[], &young));
    assert!(folder(&young).exists());
}

#[tokio::test]
async fn a_scheduler_forgets_old_jobs_of_a_deployment_with_their_artifacts() {
    let (program, bucket, database) = (Program::new(), Bucket::new(), Database::new().await);
    let url = database.url();
    let mut environment = bucket.environment();
    environment.push(("ETL_DATABASE_URL", &url));
    let input = program.file("in.csv", "id\n1\n");
    let file = program.pipeline(&copies(&input));
    let jobs = {
        let _worker = Server::start(&program, &["worker"], &environment).wait_until_up();
        [(); 2].map(|()| {
            let submit = ["submit", &file, "--wait", "--json"];
            let outcome = program.run_with(&submit, &environment).expect(0).json();
            outcome["job_id"].as_str().unwrap().to_owned()
        })
    };
    let url_of = |job: &str| {
        let ask = ["artifacts", job, "--url", "--json"];
        let list = program.run_with(&ask, &environment).expect(0).json();
        let url = &list["items"][0]["files"][0]["url"];
        url.as_str().unwrap().to_owned()
    };
    let [old, young] = &jobs;
    let (old_file, young_file) = (url_of(old), url_of(young));
    assert_eq!(get(&old_file).0, 200);
    let age = format!("SET session_replication_role = replica; {AGE} WHERE id = '{old}'");
    database.run(age).await;

    let mut environment = environment.clone();
    environment.push(("ETL_JOB_DAYS", "30"));
    let _scheduler = Server::start(&program, &["scheduler"], &environment);
    wait_until("forgotten", || !is_known(&program, &environment, old));
    assert_eq!(get(&old_file).0, 404);
    assert!(is_known(&program, &environment, young));
    assert_eq!(get(&young_file).0, 200);
    database.drop().await;
}

fn copies(input: &str) -> String {
    format!(
        "name: copies
steps:
  - name: a
    connector_type: copy
    config: {{ source: {{ type: csv, url: \"{input}\" }}, sink: {{ type: csv, url: \"artifact://out.csv\" }} }}
"
    )
}

/// The triggers that keep the past as it was are made anew by the next server.
async fn age(program: &Program, job: &str) {
    let url = format!("sqlite://{}", program.path(".etl/etl.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let triggers: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            .fetch_all(&mut database)
            .await
            .unwrap();
    for trigger in triggers {
        let drop = AssertSqlSafe(format!("DROP TRIGGER {trigger}"));
        sqlx::raw_sql(drop).execute(&mut database).await.unwrap();
    }
    let age = AssertSqlSafe(format!("{AGE} WHERE id = '{job}'"));
    sqlx::raw_sql(age).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}
