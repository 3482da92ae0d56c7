//! The built program in a folder of its own.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the helpers of tests are tests"
)]

pub mod bucket;
pub mod database;
pub mod http;
pub mod relay;
pub mod server;

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sqlx::{Connection, Row};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs the program in its own folder, without this process's environment of it.
pub struct Program {
    pub folder: tempfile::TempDir,
}

/// What a finished program left.
#[derive(Debug)]
pub struct Finished {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Standard output as the one document that it has to be.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, if it ended with this status.
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Program {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in its folder and gives the path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes a pipeline file, named as the pipeline, and gives its path.
    pub fn pipeline(&self, text: &str) -> String {
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("name: "))
            .map_or("p", str::trim);
        self.file(&format!("{name}.yaml"), text)
    }

    /// A file with a new key, as operators make it for all machines of a deployment.
    pub fn key_file(&self) -> String {
        let path = self.path("deployment.key");
        let mut key = [0; 32];
        let mut chance = std::fs::File::open("/dev/urandom").unwrap();
        chance.read_exact(&mut key).unwrap();
        std::fs::write(&path, key).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, &[])
    }

    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        finished(self.command(arguments).envs(environment.iter().copied()))
    }

    /// Runs it in another folder.
    pub fn run_in(&self, folder: &Path, arguments: &[&str]) -> Finished {
        finished(self.command(arguments).current_dir(folder))
    }

    /// Runs it with its arguments as `$ETL "$@"` in a shell script, for pipes and limits.
    pub fn shell(&self, script: &str, arguments: &[&str]) -> Finished {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(arguments);
        finished(self.at_home(command).env("ETL", etl()))
    }

    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Running {
            child,
            stderr,
            heard: String::new(),
        }
    }

    /// The newest job.
    pub fn last_job(&self) -> Value {
        self.run(&["jobs", "--limit", "1", "--json"]).json()["items"][0].clone()
    }

    /// The id of the newest job.
    pub fn last_id(&self) -> String {
        self.last_job()["id"].as_str().unwrap().to_owned()
    }

    /// What a query on an SQLite file in its folder gives, as texts.
    pub async fn query(&self, file: &str, query: &'static str) -> Vec<Vec<String>> {
        let url = format!("sqlite://{}", self.path(file).display());
        let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let rows = sqlx::query(query).fetch_all(&mut database).await.unwrap();
        let text = |row: &sqlx::sqlite::SqliteRow, at| {
            row.try_get_unchecked::<String, _>(at).unwrap_or_default()
        };
        rows.iter()
            .map(|row| (0..row.len()).map(|at| text(row, at)).collect())
            .collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(etl());
        command.args(arguments);
        self.at_home(command)
    }

    fn at_home(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETL_"))
        {
            command.env_remove(name);
        }
        command
    }
}

/// The program. Nextest says where it is now; it may have been moved since this was compiled.
pub fn etl() -> OsString {
    std::env::var_os("NEXTEST_BIN_EXE_etl").unwrap_or_else(|| env!("CARGO_BIN_EXE_etl").into())
}

/// Runs a command to its end, which has to come.
fn finished(command: &mut Command) -> Finished {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let came = end.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout);
        if !came {
            kill(pid, Signal::SIGKILL).unwrap();
        }
        came
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    let finished = Finished {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(watchdog.join().unwrap(), "it did not end: {finished:?}");
    finished
}

/// Waits until something is so, looking again and again.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The lines of a file, none if it is not there.
pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A program under way.
pub struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    heard: String,
}

impl Running {
    /// Waits until it says this on standard error.
    pub fn wait_for_line(&mut self, part: &str) -> &mut Self {
        while let Some(line) = self.next_line() {
            if line.contains(part) {
                return self;
            }
        }
        panic!("it never says {part:?}: {}", self.heard);
    }

    /// Waits for so many lines on standard error. Whether they came.
    pub fn wait_for_lines(&mut self, count: usize) -> bool {
        (0..count).all(|_| self.next_line().is_some())
    }

    fn next_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.stderr.read_line(&mut line).unwrap();
        self.heard.push_str(&line);
        (length > 0).then_some(line)
    }

    pub fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    pub fn finish(mut self) -> Finished {
        let (mut stdout, mut stderr) = (String::new(), self.heard.clone());
        self.stderr.read_to_string(&mut stderr).unwrap();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        Finished {
            status: self.child.wait().unwrap().code().unwrap_or(-1),
            stdout,
            stderr,
        }
    }

    fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }
}
