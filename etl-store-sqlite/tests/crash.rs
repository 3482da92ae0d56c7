//! kill -9 at any moment: what was answered is there, what had ended has not changed, what was running can be claimed
//! again, and the file is whole.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use etl_core::contract::store::{
    Catalog, ClaimRequest, JobStore, Journal, PutPipeline, ReapRequest, Store,
};
use etl_core::contract::{Clock, StoreErrorKind};
use etl_core::model::{
    By, Commit, Fence, JobFilter, JobId, JobRecord, JobStatus, LogLevel, LogLine, PageRequest,
    StepKey, StepRecord, StepStatus, Timestamp, Verdict,
};
use etl_core::testing::build::{a_worker, ends, moves, succeeds};
use etl_core::testing::{a_pipeline, new_job};
use etl_store_sqlite::SqliteStore;
use serde_json::{Map, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

/// Tells the process that is killed which database it is the server of.
const DATABASE: &str = "ETL_CRASH_TEST_DATABASE";
const KILLS: usize = 25;
/// Jobs that the killed process has under way at the same time.
const RUNNERS: usize = 8;

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Timestamp::from_micros(i64::try_from(since.unwrap().as_micros()).unwrap())
    }
}

/// How far a job was when the store last answered for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Acknowledged {
    Submitted,
    Claimed,
    Begun,
    Logged,
    Ended,
}

impl Acknowledged {
    const ALL: [(Self, &str); 5] = [
        (Self::Submitted, "submitted"),
        (Self::Claimed, "claimed"),
        (Self::Begun, "begun"),
        (Self::Logged, "logged"),
        (Self::Ended, "ended"),
    ];
}

fn say(job: JobId, what: Acknowledged) {
    let word = Acknowledged::ALL.iter().find(|(it, _)| *it == what);
    // One write for the line, so that a kill can't halve it.
    let line = format!("ack {job} {}\n", word.unwrap().1);
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// The server that is killed. It says what the store has answered, the moment it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other tests run it as a process of its own"]
async fn server() {
    let database = std::env::var(DATABASE).unwrap();
    println!("ack opening");
    let store = SqliteStore::open(database, Arc::new(SystemClock)).await;
    let store = Arc::new(store.unwrap());
    println!("ack opened");
    let document = a_pipeline("p").step("a").step_after("b", &["a"]).build();
    let put = PutPipeline {
        document,
        expected_version: None,
        by: By::system(),
    };
    store.put_pipeline(put).await.unwrap();
    let runners = (0..RUNNERS).map(|runner| tokio::spawn(run(store.clone(), runner)));
    for runner in runners.collect::<Vec<_>>() {
        runner.await.unwrap();
    }
}

/// Runs jobs until it is killed; every third is left half-way.
async fn run(store: Arc<SqliteStore>, runner: usize) {
    let worker = a_worker();
    let pipeline = store.pipeline("default", "p", None).await.unwrap().unwrap();
    for round in runner.. {
        let job = new_job(&pipeline);
        let id = job.id;
        store.submit(job).await.unwrap();
        say(id, Acknowledged::Submitted);
        store.dispatched(&[id]).await.unwrap();
        let want = ClaimRequest {
            worker,
            jobs: Some(vec![id]),
            limit: 1,
            ttl: Duration::from_hours(1),
            tags: Vec::new(),
        };
        let lease = store.claim(want).await.unwrap()[0].lease;
        say(id, Acknowledged::Claimed);
        let commit = |seq, changes| Commit {
            lease,
            seq,
            at: SystemClock.now(),
            lines: Vec::new(),
            changes,
        };
        let begin = commit(1, vec![moves(StepKey::step(0), StepStatus::Running)]);
        assert_eq!(store.commit(&[begin]).await.unwrap(), [Verdict::Applied]);
        say(id, Acknowledged::Begun);
        store.append(&[line(id), line(id)]).await.unwrap();
        say(id, Acknowledged::Logged);
        if round % 3 == 0 {
            continue;
        }
        let end = commit(
            2,
            vec![
                succeeds(StepKey::step(0), json!({"rows": round})),
                moves(StepKey::step(1), StepStatus::Skipped),
                ends(JobStatus::Success),
            ],
        );
        assert_eq!(store.commit(&[end]).await.unwrap(), [Verdict::Applied]);
        say(id, Acknowledged::Ended);
    }
}

fn line(job: JobId) -> LogLine {
    LogLine {
        job_id: job,
        seq: 0,
        step: Some("a".into()),
        item_index: None,
        attempt: 1,
        timestamp: SystemClock.now(),
        level: LogLevel::Info,
        message: "x".repeat(200),
        metadata: Map::new(),
    }
}

/// A server as a process of its own.
struct Server {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start(database: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server", "--ignored", "--nocapture"])
            .env(DATABASE, database)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// What it says next; `None` after its end.
    fn next(&mut self) -> Option<String> {
        self.lines.by_ref().map_while(Result::ok).find_map(|line| {
            let said = line.split_once("ack ")?.1;
            Some(said.to_owned())
        })
    }

    fn hears(&mut self, what: &str) {
        assert_eq!(self.next().as_deref(), Some(what));
    }

    /// Kills it, and gives what it had said by then.
    fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// What is known of a database over all its servers.
#[derive(Default)]
struct Known {
    acknowledged: HashMap<JobId, Acknowledged>,
    fences: HashMap<JobId, Fence>,
    ended: HashMap<JobId, (JobRecord, Vec<StepRecord>)>,
}

impl Known {
    fn hear(&mut self, said: &str) {
        let Some((job, word)) = said.split_once(' ') else {
            return;
        };
        let what = Acknowledged::ALL.iter().find(|(_, it)| *it == word);
        self.acknowledged
            .insert(job.parse().unwrap(), what.unwrap().0);
    }

    /// Everything that was answered is there, and what had ended is as it was.
    async fn check(&mut self, store: &SqliteStore) {
        for (&job, &acknowledged) in &self.acknowledged {
            let record = store.job(job).await.unwrap();
            let record = record.unwrap_or_else(|| panic!("{job}, {acknowledged:?}, is gone"));
            let page = PageRequest::default();
            let steps = store.steps(job, &page).await.unwrap().items;
            assert_eq!(steps.len(), 2);
            let lines = store.lines(job, 0, 1000).await.unwrap();
            let numbers = lines.iter().map(|line| line.seq);
            assert!(numbers.eq(1..=lines.len() as u64), "{lines:?}");
            let said = lines.iter().filter(|line| line.event().is_none()).count();
            if acknowledged >= Acknowledged::Claimed {
                assert!(record.fence >= Fence(1), "{job}");
            }
            if acknowledged >= Acknowledged::Begun {
                assert_ne!(steps[0].status, StepStatus::Pending, "{job}");
            }
            if acknowledged >= Acknowledged::Logged {
                assert_eq!(said, 2, "{job}");
            } else {
                assert!(said == 0 || said == 2, "{lines:?}");
            }
            if acknowledged >= Acknowledged::Ended {
                assert_eq!(record.status, JobStatus::Success, "{job}");
            }
            if record.status == JobStatus::Success {
                // The end is one commit: whoever sees a part of it sees all.
                let statuses: Vec<_> = steps.iter().map(|step| step.status).collect();
                assert_eq!(statuses, [StepStatus::Success, StepStatus::Skipped]);
                let before = self.ended.entry(job);
                let before = before.or_insert_with(|| (record.clone(), steps.clone()));
                assert_eq!(*before, (record, steps));
            }
        }
    }

    /// What was running when its server was killed can be had again, under larger fences.
    async fn take_up(&mut self, store: &SqliteStore) {
        let running = JobFilter {
            status: vec![JobStatus::Running],
            ..JobFilter::default()
        };
        let page = PageRequest::first(500);
        let running = store.jobs(&running, &page).await.unwrap().items;
        let reap = ReapRequest {
            job: None,
            limit: 100_000,
        };
        let reaped = store.reap(reap).await.unwrap();
        for job in &running {
            assert!(reaped.contains(&job.id), "{}", job.id);
            assert!(Some(&job.fence) > self.fences.get(&job.id), "{}", job.id);
        }
        let want = ClaimRequest {
            worker: a_worker(),
            jobs: Some(running.iter().map(|job| job.id).collect()),
            limit: 1000,
            ttl: Duration::from_hours(1),
            tags: Vec::new(),
        };
        let claimed = store.claim(want).await.unwrap();
        assert_eq!(claimed.len(), running.len());
        for claimed in claimed {
            let job = running.iter().find(|job| job.id == claimed.lease.job);
            assert!(claimed.lease.fence > job.unwrap().fence);
            self.fences.insert(claimed.lease.job, job.unwrap().fence);
        }
    }
}

async fn is_whole(database: &Path) {
    let options = SqliteConnectOptions::new().filename(database);
    let mut conn = options.connect().await.unwrap();
    let answer: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert_eq!(answer, ["ok"]);
    let broken = sqlx::query("PRAGMA foreign_key_check")
        .fetch_all(&mut conn)
        .await;
    assert!(broken.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_killed_at_any_moment_loses_nothing_that_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("etl.db");
    let mut known = Known::default();
    // Numbers of a linear congruence: any spread of moments will do.
    let mut moment = 12_345_usize;
    for _ in 0..KILLS {
        moment = (moment * 1_103_515_245 + 12_345) % 2_147_483_648;
        let mut server = Server::start(&database);
        for _ in 0..moment % 300 {
            known.hear(&server.next().unwrap());
        }
        for said in server.kill() {
            known.hear(&said);
        }
        let store = SqliteStore::open(&database, Arc::new(SystemClock)).await;
        let store = store.unwrap();
        known.check(&store).await;
        known.take_up(&store).await;
        store.close().await;
        is_whole(&database).await;
    }
    assert!(known.ended.len() > KILLS, "{}", known.ended.len());
    assert!(known.fences.len() > KILLS, "{}", known.fences.len());
}

#[tokio::test]
async fn a_server_killed_while_it_makes_its_database_leaves_one_that_opens() {
    for tick in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("etl.db");
        let mut server = Server::start(&database);
        server.hears("opening");
        // The moment of the kill, not a wait for something.
        std::thread::sleep(Duration::from_millis(tick));
        server.kill();
        let store = SqliteStore::open(&database, Arc::new(SystemClock)).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let page = PageRequest::default();
        assert!(store.jobs(&JobFilter::default(), &page).await.is_ok());
        is_whole(&database).await;
    }
}

#[tokio::test]
async fn a_second_server_is_refused_until_the_first_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("etl.db");
    let mut server = Server::start(&database);
    server.hears("opening");
    server.hears("opened");
    let refused = SqliteStore::open(&database, Arc::new(SystemClock)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::InUse);
    let cause = std::error::Error::source(&refused).unwrap();
    let told = std::error::Error::source(cause).unwrap().to_string();
    let holder = format!("process {}", server.process.id());
    assert!(told.contains(&holder), "{told}");
    assert!(told.contains("etl.db"), "{told}");
    server.kill();
    let store = SqliteStore::open(&database, Arc::new(SystemClock)).await;
    assert!(store.is_ok());
}
