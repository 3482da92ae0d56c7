//! The server that is asked, with a user and a pipeline.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use etl_benches::{program, work_folder};
use hyper::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::client::{Connection, Request};

const EMAIL: &str = "bench@example.org";
const PASSWORD: &str = "a horse of another colour";
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The id of its one pipeline.
    pub(crate) pipeline: String,
    authorization: String,
    child: Child,
    _folder: TempDir,
}

impl Server {
    pub(crate) async fn start(database: &str) -> Result<Self> {
        let folder = work_folder()?;
        let etl = program("etl")?;
        let command = |args: &[&str]| {
            let mut command = Command::new(&etl);
            command
                .args(args)
                .current_dir(folder.path())
                .env("ETL_DATABASE_URL", database)
                .env("ETL_MASTER_KEY_FILE", folder.path().join("master.key"))
                .env("ETL_BIND", "127.0.0.1:0")
                .env("ETL_RATE_LIMIT", "0")
                .env("ETL_LOG_FORMAT", "json")
                .stdin(Stdio::piped())
                .kill_on_drop(true);
            command
        };
        write_key(&folder.path().join("master.key"))?;
        ensure!(command(&["migrate"]).status().await?.success());
        let mut user = command(&["user", "create", EMAIL, "--role", "admin"]).spawn()?;
        let mut input = user.stdin.take().context("no standard input")?;
        input.write_all(format!("{PASSWORD}\n").as_bytes()).await?;
        drop(input);
        ensure!(user.wait().await?.success());
        let mut child = command(&["serve", "--role", "api"])
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take().context("no standard error")?;
        let mut lines = BufReader::new(log).lines();
        let serving = async {
            while let Some(line) = lines.next_line().await? {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if line["message"] == "serving" {
                    let address = line["address"].as_str().context("no address")?;
                    return Ok(address.parse::<SocketAddr>()?);
                }
            }
            anyhow::bail!("the server ended before it served")
        };
        let address = timeout(PATIENCE, serving).await??;
        // What it says from now on is read and thrown away, so that it never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut server = Self {
            address,
            pipeline: String::new(),
            authorization: String::new(),
            child,
            _folder: folder,
        };
        let login = json!({ "email": EMAIL, "password": PASSWORD });
        let tokens = server.tell("/api/v1/auth/login", &login).await?;
        let token = tokens["access_token"].as_str().context("no token")?;
        server.authorization = format!("Bearer {token}");
        let step =
            json!({ "name": "nothing", "connector_type": "sleep", "config": { "seconds": 0 } });
        let document = json!({ "name": "bench", "steps": [step] });
        let made = server.tell("/api/v1/pipelines", &document).await?;
        server.pipeline = made["id"].as_str().context("no pipeline")?.into();
        Ok(server)
    }

    async fn tell(&self, path: &str, body: &Value) -> Result<Value> {
        let request = Request {
            body: Bytes::from(body.to_string()),
            ..self.post(path)
        };
        let answer = Connection::open(self.address).await?.ask(&request).await?;
        ensure!(
            (200..300).contains(&answer.status),
            "{path}: {} {:?}",
            answer.status,
            answer.body
        );
        Ok(serde_json::from_slice(&answer.body)?)
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        Request {
            method: Method::GET,
            ..self.post(path)
        }
    }

    pub(crate) fn post(&self, path: &str) -> Request {
        Request {
            method: Method::POST,
            path: path.to_owned(),
            authorization: self.authorization.clone(),
            body: Bytes::new(),
        }
    }

    /// Makes so many jobs.
    pub(crate) async fn jobs(&self, execute: &Request, jobs: usize) -> Result<()> {
        let mut connection = Connection::open(self.address).await?;
        for _ in 0..jobs {
            ensure!(connection.ask(execute).await?.status == 202);
        }
        Ok(())
    }

    /// How much of it is resident, in MiB.
    pub(crate) fn memory(&self) -> Result<f64> {
        let id = self.child.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: f64 = kib.context("no memory is told")?.parse()?;
        Ok(kib / 1024.0)
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        let id = self.child.id().context("the server has ended")?;
        kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM)?;
        ensure!(timeout(PATIENCE, self.child.wait()).await??.success());
        Ok(())
    }
}

/// 32 bytes of chance that nobody else reads.
fn write_key(path: &std::path::Path) -> Result<()> {
    use std::io::{Read, Write};
    use std::os::unix::fs::OpenOptionsExt;
    let mut key = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(&key)?)
}
