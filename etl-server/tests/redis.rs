//! Processes that tell each other of events through Redis, and do without it while it is away.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

mod program;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use etl_core::contract::{EventBus, Received, Subscription};
use etl_core::model::{Event, EventKind, JobId, JobStatus, StepStatus};
use etl_redis::{Redis, RedisOptions};
use program::{Program, wait_until};

const PASSWORD: &str = "canary-hunter2";

/// A server of the test's own, killed when it is dropped.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            port: free.local_addr().unwrap().port(),
            child: None,
        };
        drop(free);
        server.restart();
        server
    }

    fn restart(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args([
                "--requirepass",
                PASSWORD,
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        let client = self.client();
        wait_until("redis answers", || client.get_connection().is_ok());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    /// How many listen to what becomes of a job.
    fn listeners(&self, job: JobId) -> u64 {
        let mut connection = self.client().get_connection().unwrap();
        let mut command = redis::cmd("PUBSUB");
        command
            .arg("NUMSUB")
            .arg(format!("channel:job:{job}:status"));
        let (_, count): (String, u64) = command.query(&mut connection).unwrap();
        count
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn next(watcher: &mut Box<dyn Subscription>) -> Event {
    let next = tokio::time::timeout(Duration::from_mins(1), watcher.next()).await;
    match next.expect("nothing came") {
        Some(Received::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

/// A folder whose processes have this server, and a pipeline whose step ends when the file `go` is there.
fn a_deployment(server: &Server) -> (Program, String) {
    let program = Program::new();
    let settings = format!("events_url = {:?}\nbind = \"127.0.0.1:0\"\n", server.url());
    program.file("etl.toml", settings);
    let file = program.pipeline(
        "name: waits
steps:
  - { name: a, connector_type: command, config: { argv: [sh, -c, 'echo begun; until [ -e go ]; do sleep 0.02; done'] } }
",
    );
    program.run(&["migrate"]).expect(0);
    (program, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_job_hears_of_its_end_from_another_process() {
    let server = Server::start();
    let (program, file) = a_deployment(&server);
    let bus = Redis::open(&server.url(), &RedisOptions::default())
        .unwrap()
        .events();
    let mut watcher = bus.subscribe(None).await.unwrap();
    let mut worker = program.spawn(&["serve"]);
    worker.wait_for_line("serving");

    let waiting = program.spawn(&["submit", &file, "--wait", "--json"]);
    let mut event = next(&mut watcher).await;
    let job = event.job_id;
    let (mut has_line, mut has_step) = (false, false);
    loop {
        assert_eq!(event.job_id, job);
        match event.kind {
            EventKind::Log(line) => has_line |= line.message == "begun",
            EventKind::Step { status, .. } => has_step |= status == StepStatus::Running,
            _ => {}
        }
        if has_line && has_step {
            break;
        }
        event = next(&mut watcher).await;
    }
    wait_until("who waits listens", || server.listeners(job) == 1);
    program.file("go", "");
    loop {
        if let EventKind::Job { status, .. } = next(&mut watcher).await.kind {
            assert_eq!(status, JobStatus::Success);
            break;
        }
    }
    let ended = Instant::now();
    let waited = waiting.finish();
    eprintln!("who waited knew {:?} after the job's end", ended.elapsed());
    assert_eq!(waited.status, 0, "{waited:?}");
    assert_eq!(waited.json()["job_id"], job.to_string());
    assert_eq!(waited.json()["status"], "success");
    wait_until("nobody listens any more", || server.listeners(job) == 0);
    worker.terminate();
    let stopped = worker.finish();
    assert_eq!(stopped.status, 0, "{stopped:?}");
}

#[test]
fn a_job_ends_and_is_waited_for_while_redis_is_away() {
    let mut server = Server::start();
    let (program, file) = a_deployment(&server);
    let mut worker = program.spawn(&["serve"]);
    worker.wait_for_line("serving");
    let waiting = program.spawn(&["submit", &file, "--wait", "--json"]);
    wait_until("the job runs", || {
        let jobs = program.run(&["jobs", "--json"]).json();
        jobs["items"][0]["status"] == "running"
    });
    server.kill();
    worker.wait_for_line("events are not told");
    program.file("go", "");
    let waited = waiting.finish();
    assert_eq!(waited.status, 0, "{waited:?}");
    assert_eq!(waited.json()["status"], "success");
    // And one that never saw it.
    let waited = program
        .run(&["submit", "waits", "--wait", "--json"])
        .expect(0);
    assert_eq!(waited.json()["status"], "success");
    server.restart();
    worker.wait_for_line("events are told by redis again");
    worker.terminate();
    let stopped = worker.finish();
    assert_eq!(stopped.status, 0, "{stopped:?}");
    for said in [&stopped.stderr, &waited.stderr] {
        assert!(!said.contains(PASSWORD), "{said}");
    }
}
