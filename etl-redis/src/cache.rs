//! What jobs are at, at hand for whoever asks often. A cache that is away is one that knows nothing.

use std::time::Duration;

use etl_core::model::{JobId, JobStatus, Timestamp};
use redis::Script;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

use crate::error::{Causes, Fault};
use crate::link::Link;

/// The longest text that is kept.
const LONGEST: usize = 64 * 1024;

/// Writes if what is there is not newer. KEYS[1]; ARGV: text, its time in microseconds, milliseconds to live.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local at = tonumber(redis.call('HGET', KEYS[1], 'at') or '0')
         if at and at > tonumber(ARGV[2]) then return 0 end
         redis.call('DEL', KEYS[1])
         redis.call('HSET', KEYS[1], 'summary', ARGV[1], 'at', ARGV[2])
         redis.call('PEXPIRE', KEYS[1], ARGV[3])
         return 1",
    )
});

/// What is told of a job at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Its state.
    pub status: JobStatus,
    /// Per cent, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// The step that started last, while one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step: Option<String>,
    /// When it was so. An older summary never takes the place of a newer one.
    pub at: Timestamp,
}

/// Summaries of jobs, each for a while.
///
/// # Contract
/// It is a copy: `get` MAY give nothing at any time, and what it gives MAY be old. Neither call fails.
#[derive(Debug, Clone)]
pub struct StatusCache {
    link: Link,
}

impl StatusCache {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Keeps a summary for so long (at least a millisecond).
    pub async fn put(&self, job: JobId, summary: &JobSummary, keep: Duration) {
        if let Err(fault) = self.try_put(job, summary, keep).await {
            tracing::debug!(error = %Causes(&fault), "a job's summary is not cached");
        }
    }

    /// The summary, if it is at hand.
    pub async fn get(&self, job: JobId) -> Option<JobSummary> {
        let mut command = redis::cmd("HGET");
        command.arg(self.key(job)).arg("summary");
        match self.link.query::<Option<Vec<u8>>>(&command).await {
            Ok(text) => text.and_then(|text| serde_json::from_slice(&text).ok()),
            Err(fault) => {
                tracing::debug!(error = %Causes(&fault), "the cache is away");
                None
            }
        }
    }

    async fn try_put(&self, job: JobId, summary: &JobSummary, keep: Duration) -> Result<(), Fault> {
        let text = serde_json::to_vec(summary).map_err(|_| Fault::Value("it has no JSON"))?;
        if text.len() > LONGEST {
            return Err(Fault::Value("a summary has at most 64 KiB"));
        }
        let mut call = SCRIPT.prepare_invoke();
        call.key(self.key(job))
            .arg(text)
            .arg(summary.at.as_micros())
            .arg(millis(keep));
        self.link.script::<u8>(&call).await.map(drop)
    }

    fn key(&self, job: JobId) -> String {
        self.link.names().key(&[&"job", &job, &"status"])
    }
}

/// A time to live as Redis takes it: never zero, and no more than a century.
pub(crate) fn millis(keep: Duration) -> u64 {
    let century = 100 * 366 * 24 * 3600 * 1000;
    u64::try_from(keep.as_millis())
        .unwrap_or(century)
        .clamp(1, century)
}
