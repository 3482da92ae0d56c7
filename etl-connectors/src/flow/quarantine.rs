//! Where bad records go: to the step's artifact `quarantine.ndjson`, up to a bound.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use etl_core::artifact::ArtifactArea;
use etl_core::contract::StepContext;
use etl_core::model::{ArtifactName, Place, StepError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::{blocking, fault};
use crate::location::{Compressed, Compression, OutFile};

/// The artifact's name.
const NAME: &str = "quarantine.ndjson";

/// How much of a record is kept, in bytes: the limit of a record is far above what a person can read.
const KEPT_OF_A_RECORD: usize = 64 * 1024;

/// What to do with a record that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRecord {
    /// The step fails, and says where the record is.
    #[default]
    Fail,
    /// The record goes to the step's artifact `quarantine.ndjson` with its place and the cause, and the step goes on, up to
    /// `max_quarantined` records.
    Quarantine,
}

/// What a source was told about bad records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuarantineLimit {
    /// What to do.
    pub on_bad_record: OnBadRecord,
    /// How many records may be set aside; one more fails the step.
    pub max_quarantined: u64,
}

/// A record that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadRecord {
    /// Where it is.
    pub place: Place,
    /// What is wrong with it, without its content.
    pub cause: String,
    /// The record as it was, or its beginning.
    pub record: String,
}

impl BadRecord {
    /// The record at `place`. Bytes that are no text are shown as U+FFFD; what is longer than 64 KiB is cut.
    pub fn new(place: Place, cause: impl Into<String>, raw: &[u8]) -> Self {
        let kept = &raw[..raw.len().min(KEPT_OF_A_RECORD)];
        Self {
            place,
            cause: cause.into(),
            record: String::from_utf8_lossy(kept).into_owned(),
        }
    }
}

/// The quarantine of one running step.
#[derive(Debug)]
pub struct Quarantine {
    area: ArtifactArea,
    /// Counts but keeps nothing: the records are in another flow's quarantine already.
    discards: bool,
    count: AtomicU64,
    file: Mutex<Option<Compressed>>,
}

impl Quarantine {
    /// Empty; the artifact comes into being with the first bad record.
    pub(crate) fn new(ctx: &StepContext) -> Self {
        Self {
            area: ctx.artifacts().clone(),
            discards: false,
            count: AtomicU64::new(0),
            file: Mutex::new(None),
        }
    }

    pub(crate) fn discarding(ctx: &StepContext) -> Self {
        Self {
            discards: true,
            ..Self::new(ctx)
        }
    }

    /// How many records are in it.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes a bad record, or fails the step, as `limit` says. Blocks: to be called from a thread that may.
    ///
    /// # Errors
    /// A permanent one with the record's place if bad records fail the step or there are too many; else those of writing.
    pub fn take(&self, bad: &BadRecord, limit: QuarantineLimit) -> Result<(), StepError> {
        if limit.on_bad_record == OnBadRecord::Fail {
            return Err(StepError::permanent(format!(
                "bad record: {}; `on_bad_record: quarantine` would set it aside",
                bad.cause
            ))
            .at(bad.place.clone()));
        }
        if self.count.fetch_add(1, Ordering::Relaxed) >= limit.max_quarantined {
            return Err(StepError::permanent(format!(
                "more bad records than `max_quarantined` ({}) allows; the latest: {}",
                limit.max_quarantined, bad.cause
            ))
            .at(bad.place.clone()));
        }
        if self.discards {
            return Ok(());
        }
        self.write(bad)
            .map_err(|error| fault::io(format!("writing {NAME}"), error))
    }

    fn write(&self, bad: &BadRecord) -> std::io::Result<()> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &mut *slot {
            Some(file) => file,
            empty => empty.insert(Compressed::new(self.create()?, Compression::None)?),
        };
        serde_json::to_writer(&mut *file, bad)?;
        file.write_all(b"\n")
    }

    fn create(&self) -> std::io::Result<OutFile> {
        let name = artifact_name();
        match self.area.local_path(&name) {
            Some(path) => OutFile::local(&path),
            None => Ok(OutFile::object(
                self.area.storage().store().clone(),
                self.area.location(&name),
                Handle::current(),
            )),
        }
    }

    /// Completes the artifact and declares it, if there is any bad record.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn publish(&self, ctx: &StepContext) -> Result<(), StepError> {
        let file = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(file) = file else { return Ok(()) };
        blocking("closing the quarantine", move || {
            file.close()
                .map_err(|error| fault::io(format!("writing {NAME}"), error))
        })
        .await?;
        ctx.publish(artifact_name()).await;
        ctx.warn(format!(
            "{} bad records were set aside in the artifact {NAME}",
            self.count()
        ))
        .await;
        Ok(())
    }
}

fn artifact_name() -> ArtifactName {
    ArtifactName::new(NAME).expect("invariant: the constant is an artifact name")
}
