//! A deployment on Postgres: processes die, others go on, and nothing is lost or done twice that was done.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use program::Program;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use uuid::Uuid;

/// A database of its own on the tests' server.
struct Database {
    server: String,
    name: String,
}

impl Database {
    async fn new() -> Self {
        let server = std::env::var("ETL_TEST_POSTGRES_URL").expect(
            "ETL_TEST_POSTGRES_URL names the PostgreSQL server for tests: `eval $(scripts/services env)`",
        );
        let name = format!("etl_test_{}", Uuid::now_v7().simple());
        let database = Self { server, name };
        database
            .on_the_server(format!("CREATE DATABASE {}", database.name))
            .await;
        database
    }

    async fn on_the_server(&self, sql: String) {
        let mut conn = PgConnection::connect(&self.server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut conn)
            .await
            .unwrap();
    }

    fn url(&self) -> String {
        let (before, _) = self.server.rsplit_once('/').unwrap();
        format!("{before}/{}", self.name)
    }

    async fn rows(&self, sql: &'static str) -> Vec<Vec<String>> {
        let mut conn = PgConnection::connect(&self.url()).await.unwrap();
        let rows = sqlx::query(sql).fetch_all(&mut conn).await.unwrap();
        rows.iter()
            .map(|row| {
                (0..row.len())
                    .map(|at| row.get::<Option<String>, _>(at).unwrap_or_default())
                    .collect()
            })
            .collect()
    }

    async fn drop(self) {
        self.on_the_server(format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }
}

/// A process of a deployment, killed when it is dropped.
struct Server(Child);

impl Server {
    fn start(program: &Program, url: &str, roles: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etl"));
        command.arg("serve");
        for role in roles {
            command.args(["--role", role]);
        }
        let child = command
            .current_dir(program.folder.path())
            .envs([
                ("ETL_DATABASE_URL", url),
                ("ETL_BIND", "127.0.0.1:0"),
                ("ETL_MAX_STEPS", "8"),
                ("ETL_DRAIN_SECONDS", "30"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Five steps; each notes when it starts, in nanoseconds of this machine's clock.
const FIVE: &str = "name: five
steps:
  - name: a
    connector_type: command
    config: { argv: [sh, -c, 'echo {{ job.id }} $0 $(date +%s%N) >> effects.txt; sleep 0.5', a] }
  - { name: b, connector_type: command, dependencies: [a], config: { argv: [sh, -c, 'echo {{ job.id }} $0 $(date +%s%N) >> effects.txt; sleep 0.5', b] } }
  - { name: c, connector_type: command, dependencies: [a], config: { argv: [sh, -c, 'echo {{ job.id }} $0 $(date +%s%N) >> effects.txt; sleep 0.5', c] } }
  - { name: d, connector_type: command, dependencies: [b, c], config: { argv: [sh, -c, 'echo {{ job.id }} $0 $(date +%s%N) >> effects.txt; sleep 0.5', d] } }
  - { name: e, connector_type: command, dependencies: [d], config: { argv: [sh, -c, 'echo {{ job.id }} $0 $(date +%s%N) >> effects.txt; sleep 0.5', e] } }
";

/// How many jobs the crash test runs, and how often it kills. `ETL_CRASH_JOBS` and `ETL_CRASH_SECONDS` make it as large as
/// wanted.
fn size(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[tokio::test]
async fn workers_that_are_killed_lose_no_job_and_repeat_no_step_that_succeeded() {
    let (jobs, every) = (
        size("ETL_CRASH_JOBS", 60),
        Duration::from_secs(size("ETL_CRASH_SECONDS", 3)),
    );
    let (program, database) = (Arc::new(Program::new()), Database::new().await);
    let url = database.url();
    let file = program.pipeline(FIVE);
    program
        .run_with(&["migrate"], &[("ETL_DATABASE_URL", url.as_str())])
        .expect(0);
    let mut workers = [
        Server::start(&program, &url, &["worker", "scheduler"]),
        Server::start(&program, &url, &["worker", "scheduler"]),
    ];
    let submitting = std::thread::spawn({
        let (program, url) = (Arc::clone(&program), url.clone());
        move || {
            let environment = [("ETL_DATABASE_URL", url.as_str())];
            program.run_with(&["submit", &file], &environment).expect(0);
            for _ in 1..jobs {
                program
                    .run_with(&["submit", "five"], &environment)
                    .expect(0);
            }
        }
    });

    let began = Instant::now();
    let (mut next_kill, mut kills) = (Instant::now() + every, 0);
    loop {
        let open = database
            .rows("SELECT count(*)::text FROM job_executions WHERE status IN ('pending', 'queued', 'running')")
            .await;
        if open[0][0] == "0" && submitting.is_finished() {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60 + 3 * jobs),
            "{} jobs are still open",
            open[0][0]
        );
        if next_kill <= Instant::now() && open[0][0] != "0" {
            let victim = &mut workers[(kills % 2) as usize];
            victim.kill();
            *victim = Server::start(&program, &url, &["worker", "scheduler"]);
            kills += 1;
            next_kill = Instant::now() + every;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eprintln!(
        "{jobs} jobs, {kills} kills, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    submitting.join().unwrap();
    assert!(kills > 0);

    let by_status = database
        .rows("SELECT status, count(*)::text FROM job_executions GROUP BY status")
        .await;
    assert_eq!(by_status, [["success".to_owned(), jobs.to_string()]]);
    check_effects(&program, &database, jobs).await;
    database.drop().await;
}

/// Every step has an effect, and none has one that began after its success was remembered.
async fn check_effects(program: &Program, database: &Database, jobs: u64) {
    let steps = database
        .rows(
            "SELECT s.job_id::text, p.name, s.status, (extract(epoch FROM s.completed_at) * 1000000)::bigint::text, s.lost::text
             FROM step_executions s JOIN pipeline_steps p ON p.id = s.step_id",
        )
        .await;
    assert_eq!(steps.len() as u64, jobs * 5);
    let effects = std::fs::read_to_string(program.path("effects.txt")).unwrap();
    let mut starts: HashMap<(&str, &str), Vec<u128>> = HashMap::new();
    for line in effects.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let nanos = words[2].parse::<u128>().unwrap();
        starts
            .entry((words[0], words[1]))
            .or_default()
            .push(nanos / 1000);
    }
    let mut repeated = 0;
    for step in &steps {
        let [job, name, status, completed, lost] = &step[..] else {
            panic!("{step:?}");
        };
        assert_eq!(status, "success");
        let starts = &starts[&(job.as_str(), name.as_str())];
        let completed: u128 = completed.parse().unwrap();
        assert!(
            starts.iter().all(|start| *start <= completed),
            "step {name} of job {job} ran again after it had succeeded"
        );
        // Only what was lost with its worker may have run more than once.
        let lost: usize = lost.parse().unwrap();
        assert!(
            starts.len() <= 1 + lost,
            "step {name} of job {job}: {starts:?}"
        );
        repeated += starts.len() - 1;
    }
    eprintln!("{repeated} attempts were lost with their workers and repeated");
}

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
    let mut first = Server::start(&program, &url, &["worker"]);
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
        Command::new("kill")
            .args(["-TERM", &first.0.id().to_string()])
            .status()
            .unwrap();
        first.0.try_wait().unwrap().is_some()
    });
    assert!(first.0.wait().unwrap().success());
    assert_eq!(status(), "pending");
    let _second = Server::start(&program, &url, &["worker"]);
    program::wait_until("success", || status() == "success");
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
        Server::start(&here, &url, &[]),
        Server::start(&there, &url, &[]),
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
