//! A connector that does what it is told, well or badly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use object_store::ObjectStoreExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::contract::{Connector, Progress, StepContext};
use crate::model::{ArtifactName, ErrorClass, LogLevel, Place, Report, StepError};

/// Does what its configuration says, and counts.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) started: AtomicU64,
    pub(super) ended: AtomicU64,
    /// Whether attempts that block may end.
    pub(super) released: AtomicBool,
    /// Log lines that were taken from it.
    pub(super) said: AtomicU64,
}

/// Counts an attempt's end, also if its future is dropped.
struct Ends(Arc<Counts>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a [`Probe`] does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProbeConfig {
    /// Reports `value`.
    Echo {
        /// The output.
        value: Value,
    },
    /// Reports what it was given: its name, attempt, credential and checkpoint.
    Mirror,
    /// Says one thing of each kind and ends.
    Speak,
    /// Fails.
    Fail {
        /// In this class.
        class: ErrorClass,
        /// With this message.
        message: String,
    },
    /// Panics.
    Panic {
        /// With this message.
        message: String,
    },
    /// Ends when it is asked to.
    Wait,
    /// Never ends by itself, whatever it is asked.
    Deaf,
    /// Never ends by itself and holds the thread that it runs on.
    Block,
    /// Says so many log lines, one after the other.
    Flood {
        /// How many.
        lines: u64,
    },
    /// Ends while something that it left behind goes on talking.
    Babble,
    /// Writes an artifact.
    Artifact {
        /// Its name.
        name: String,
        /// What is in it.
        text: String,
    },
}

/// What a [`Probe`] takes as its credential.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeCredential {
    /// Shown by `mirror`. A real connector must not.
    pub word: String,
}

impl Probe {
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Connector for Probe {
    const NAME: &'static str = "probe";
    type Config = ProbeConfig;
    type Credential = ProbeCredential;

    fn description(&self) -> &'static str {
        "Does what a test says."
    }

    async fn run(
        &self,
        config: ProbeConfig,
        credential: Option<ProbeCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        self.counts.started.fetch_add(1, Ordering::SeqCst);
        let _ends = Ends(self.counts.clone());
        match config {
            ProbeConfig::Echo { value } => Ok(Report::rows(1).with_output(value)),
            ProbeConfig::Mirror => Ok(Report::default().with_output(json!({
                "step": &*ctx.task().step_name,
                "attempt": ctx.task().key.attempt,
                "credential": credential.map(|credential| credential.word),
                "checkpoint": ctx.restored(),
            }))),
            ProbeConfig::Speak => {
                let metadata = Map::from_iter([("n".into(), json!([1, null]))]);
                ctx.log(LogLevel::Warn, "«careful» 🦀\nsecond line", metadata)
                    .await;
                ctx.progress(Progress {
                    percent: Some(50),
                    rows_processed: 5,
                    ..Progress::default()
                });
                ctx.checkpoint(json!({"at": 5})).await;
                ctx.metric("files", 2.5).await;
                Ok(Report::rows(10))
            }
            ProbeConfig::Fail { class, message } => Err(StepError::new(class, message).at(Place {
                file: Some("in.csv".into()),
                line: Some(7),
                column: Some("amount".into()),
                row: Some(6),
            })),
            ProbeConfig::Panic { message } => panic!("{message}"),
            ProbeConfig::Wait => {
                ctx.info("waiting").await;
                ctx.cancelled().cancelled().await;
                Err(StepError::transient("stopped as asked"))
            }
            ProbeConfig::Deaf => {
                ctx.info("waiting").await;
                std::future::pending().await
            }
            ProbeConfig::Block => {
                ctx.info("waiting").await;
                while !self.counts.released.load(Ordering::SeqCst) {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(StepError::transient("released"))
            }
            ProbeConfig::Flood { lines } => {
                for n in 0..lines {
                    ctx.info(n.to_string()).await;
                    self.counts.said.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Report::rows(lines))
            }
            ProbeConfig::Babble => {
                tokio::spawn(async move {
                    for _ in 0..10_000 {
                        ctx.info("still here").await;
                    }
                });
                Ok(Report::default())
            }
            ProbeConfig::Artifact { name, text } => {
                let name = ArtifactName::new(name)
                    .map_err(|fault| StepError::permanent("bad artifact name").because(fault))?;
                let area = ctx.artifacts();
                area.storage()
                    .store()
                    .put(&area.location(&name), text.into_bytes().into())
                    .await
                    .map_err(|fault| StepError::transient("can't write").because(fault))?;
                ctx.publish(name).await;
                Ok(Report::default())
            }
        }
    }
}
