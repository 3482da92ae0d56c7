//! Runs one attempt of a connector as the engine would, on a folder of its own.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its part, and is a crate of its own"
)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use etl_connectors::builtin;
use etl_core::artifact::ArtifactStorage;
use etl_core::contract::{ContextParts, StepContext};
use etl_core::model::{
    AttemptKey, BaseDir, ExecutorKind, Fence, JobId, Report, StepError, StepEvent, StepKey,
    StepTask, Timestamp,
};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where a test's steps run: a folder for data, a storage for artifacts, and which attempt is next.
pub struct Bench {
    pub folder: TempDir,
    pub storage: ArtifactStorage,
    pub attempt: u32,
    pub step: u32,
    pub fence: u64,
    pub base_dir: bool,
    pub cancellation: CancellationToken,
    /// Told of each log line of a step.
    pub logged: Arc<Notify>,
}

/// What an attempt left behind.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<Report, StepError>,
    /// Name and URI of what it declared.
    pub artifacts: Vec<(String, String)>,
    pub logs: Vec<String>,
    pub progress: Vec<(Option<u8>, u64)>,
}

impl Outcome {
    #[track_caller]
    pub fn report(&self) -> &Report {
        match &self.result {
            Ok(report) => report,
            Err(error) => panic!("{error}\n{:?}", error.causes()),
        }
    }

    #[track_caller]
    pub fn error(&self) -> &StepError {
        self.result.as_ref().expect_err("the step should fail")
    }

    #[track_caller]
    pub fn artifact(&self, name: &str) -> String {
        let found = self.artifacts.iter().find(|(found, _)| found == name);
        found.expect("the artifact should be declared").1.clone()
    }

    /// What was set aside, for artifacts in a folder.
    #[track_caller]
    pub fn quarantine(&self) -> Vec<Value> {
        let uri = self.artifact("quarantine.ndjson");
        let text = std::fs::read_to_string(uri.strip_prefix("file://").unwrap()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Bench {
    /// Artifacts in a folder below the test's.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = ArtifactStorage::folder(folder.path().join(".artifacts")).unwrap();
        Self::with(folder, storage)
    }

    /// Artifacts in memory.
    pub fn in_memory() -> Self {
        Self::with(tempfile::tempdir().unwrap(), ArtifactStorage::memory())
    }

    fn with(folder: TempDir, storage: ArtifactStorage) -> Self {
        Self {
            folder,
            storage,
            attempt: 1,
            step: 0,
            fence: 1,
            base_dir: true,
            cancellation: CancellationToken::new(),
            logged: Arc::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Names of everything in a folder, hidden ones too.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".artifacts")
            .collect();
        names.sort();
        names
    }

    /// Cancels what runs in the midst of its computing, and tells when. Nothing tells from outside that a query computes: were
    /// the wait too short, the test would try less, and never fail.
    pub fn cancel_in_its_midst(&self) -> JoinHandle<Instant> {
        let cancellation = self.cancellation.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cancellation.cancel();
            Instant::now()
        })
    }

    /// Runs one attempt of `connector` to its end.
    pub async fn run(&self, connector: &str, config: Value) -> Outcome {
        let key = AttemptKey {
            job: JobId(uuid::Uuid::nil()),
            step: StepKey::step(self.step),
            attempt: self.attempt,
        };
        let config = Arc::new(config);
        let base = self
            .base_dir
            .then(|| BaseDir::closed(self.folder.path().to_str().unwrap()));
        let task = StepTask {
            key,
            fence: Fence(self.fence),
            pipeline: "p".into(),
            step_name: "s".into(),
            connector_type: connector.into(),
            config: config.clone(),
            credential: None,
            executor: ExecutorKind::InProcess,
            resources: None,
            checkpoint: None,
            deadline: deadline(),
            base_dir: base,
        };
        let (events, mut heard) = mpsc::channel(64);
        let ctx = StepContext::new(ContextParts {
            task: Arc::new(task),
            artifacts: self.storage.area(&key),
            events,
            cancellation: self.cancellation.clone(),
        });
        let connector = builtin().connector(connector).expect("a connector").clone();
        let logged = self.logged.clone();
        let listening = tokio::spawn(async move {
            let (mut artifacts, mut logs, mut progress) = (Vec::new(), Vec::new(), Vec::new());
            while let Some(event) = heard.recv().await {
                match event {
                    StepEvent::Artifact { name, uri } => artifacts.push((name.to_string(), uri)),
                    StepEvent::Log {
                        message, metadata, ..
                    } => {
                        logs.push(with_details(message, &metadata));
                        logged.notify_one();
                    }
                    StepEvent::Progress {
                        progress: percent,
                        rows_processed,
                        ..
                    } => progress.push((percent, rows_processed)),
                    _ => {}
                }
            }
            (artifacts, logs, progress)
        });
        let result = connector.run_dyn(config, None, ctx).await;
        if let Ok(report) = &result {
            assert!(
                report.balance.is_none_or(|balance| balance.holds()),
                "{:?} does not balance",
                report.balance
            );
        }
        let (artifacts, logs, progress) = listening.await.unwrap();
        Outcome {
            result,
            artifacts,
            logs,
            progress,
        }
    }
}

fn with_details(message: String, metadata: &Map<String, Value>) -> String {
    if metadata.is_empty() {
        message
    } else {
        format!("{message} {}", Value::Object(metadata.clone()))
    }
}

fn deadline() -> Timestamp {
    Timestamp::from(chrono::Utc::now() + Duration::from_hours(1))
}

/// Runs a `copy`.
pub async fn copy(bench: &Bench, source: Value, sink: Value) -> Outcome {
    let config = serde_json::json!({"source": source, "sink": sink});
    bench.run("copy", config).await
}

/// A copy through `sql`: all rows of a source as JSON, in the order of the source.
pub async fn rows(bench: &Bench, source: Value) -> Vec<Value> {
    let config = serde_json::json!({"inputs": {"t": source}, "query": "SELECT * FROM t"});
    let outcome = bench.run("sql", config).await;
    outcome.report().output["rows"].as_array().unwrap().clone()
}

pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
