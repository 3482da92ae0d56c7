//! A process of a deployment.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use etl_core::model::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Program, etl, lines, wait_until};

/// `etl serve`, killed when it is dropped. What it says goes into a file of the program's folder.
pub struct Server {
    child: Child,
    log: PathBuf,
}

static STARTED: AtomicUsize = AtomicUsize::new(0);

impl Server {
    pub fn start(program: &Program, roles: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(etl());
        command.arg("serve");
        for role in roles {
            command.args(["--role", role]);
        }
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = program.path(&format!("server-{number}.log"));
        let child = command
            .current_dir(program.folder.path())
            .envs([
                ("ETL_BIND", "127.0.0.1:0"),
                ("ETL_MAX_STEPS", "8"),
                ("ETL_DRAIN_SECONDS", "30"),
                ("ETL_LOG", "info"),
            ])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Waits until it serves.
    pub fn wait_until_up(self) -> Self {
        wait_until("serving", || {
            lines(&self.log).iter().any(|line| line.contains("serving"))
        });
        self
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        let said = lines(&self.log);
        let serving = said.iter().find(|line| line.contains("serving")).unwrap();
        let line: serde_json::Value = serde_json::from_str(serving).unwrap();
        line["address"].as_str().unwrap().to_owned()
    }

    /// Where it tells its metrics, if not where it listens.
    pub fn metrics_address(&self) -> String {
        let said = lines(&self.log);
        let told = said
            .iter()
            .find(|line| line.contains("\"metrics\""))
            .unwrap();
        let line: serde_json::Value = serde_json::from_str(told).unwrap();
        line["address"].as_str().unwrap().to_owned()
    }

    /// The token by which the first admin is made, if it asks for one.
    pub fn setup_token(&self) -> Option<String> {
        let said = lines(&self.log);
        let token = said.iter().find(|line| line.trim().starts_with("etl_st_"));
        token.map(|line| line.trim().to_owned())
    }

    /// Where it writes its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What its clock said when it began to serve, seconds since 1970.
    pub fn clock(&self) -> i64 {
        let said = lines(&self.log);
        let first: serde_json::Value = serde_json::from_str(&said[0]).unwrap();
        let at: Timestamp = first["timestamp"].as_str().unwrap().parse().unwrap();
        at.as_micros() / 1_000_000
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs, and has never ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Waits for its end. Whether it was a good one.
    pub fn ends_well(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = lines(&self.log);
            let last = &said[said.len().saturating_sub(20)..];
            eprintln!("{} ends with:\n{}", self.log.display(), last.join("\n"));
        }
    }
}
