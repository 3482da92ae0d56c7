//! Archives of logs: after a job's end its lines are written to the artifact storage, as NDJSON compressed with zstd. The lines of the
//! store may go then.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etl_core::artifact::ArtifactStorage;
use etl_core::contract::{Store, StoreError, StoreErrorKind};
use etl_core::model::{JobId, LogLine};
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::ObjectStoreExt;
use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use uuid::Uuid;
use zstd::stream::write::{Decoder, Encoder};

use crate::deployment::{OpenStore, unreachable};
use crate::failure::Failure;

/// Lines that are held at once.
const PAGE: usize = 500;

/// Jobs that are looked for at once.
const JOBS: usize = 100;

/// Logs that are written at the same time.
const AT_ONCE: usize = 16;

/// How often is looked for jobs that have ended.
const EVERY: Duration = Duration::from_secs(10);

/// How long after a job's end its last lines may still come.
const SETTLED_AFTER: Duration = Duration::from_secs(30);

/// zstd's own default: log lines become a tenth, at a speed that is none of a job's.
const LEVEL: i32 = 3;

/// Compressed bytes that are decompressed at once.
const SLICE: usize = 4 * 1024;

/// The longest line that is believed to be one; the store cuts them far below.
const LONGEST_LINE: usize = 1024 * 1024;

/// Why a log was not archived, or can't be read from its archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("the store can't be asked")]
    Store(#[from] StoreError),
    #[error("the artifact storage can't be used")]
    Storage(#[from] object_store::Error),
    #[error("the archive can't be written")]
    Write(#[source] std::io::Error),
    #[error("the archive is damaged")]
    Damaged(#[source] std::io::Error),
    #[error("a line of the archive can't be read")]
    Line(#[from] serde_json::Error),
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let message = "the archive of the log can't be read";
        unreachable(message)
            .because(error)
            .hint("the database has no more than what was shown; see storage_url and the storage")
    }
}

/// Archives the logs of jobs that have ended. Any number may run: what two write is the same.
#[derive(Debug)]
pub(crate) struct Archiver {
    store: Arc<dyn Store>,
    storage: ArtifactStorage,
    /// By it each process goes through the same jobs in an order of its own.
    salt: u128,
}

impl Archiver {
    pub(crate) fn new(store: &OpenStore, storage: ArtifactStorage) -> Self {
        Self {
            store: Arc::clone(store.store()),
            storage,
            salt: Uuid::new_v4().as_u128(),
        }
    }

    /// Archives until it is aborted. What was not archived is tried again, as long as it takes.
    pub(crate) fn start(self) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                self.archive(SETTLED_AFTER).await;
                tokio::time::sleep(EVERY).await;
            }
        })
    }

    /// Archives what has ended. For who knows that no more lines come.
    pub(crate) async fn archive_all(&self) {
        self.archive(Duration::ZERO).await;
    }

    async fn archive(&self, settled_after: Duration) {
        if let Err(error) = self.round(settled_after).await {
            let error = with_causes(&error);
            tracing::warn!(error, "logs not archived, trying again");
        }
    }

    /// Archives the logs of jobs that ended so long ago, until there is none. Those that can't be written are in nobody's way.
    ///
    /// # Errors
    /// If the store fails, or not one of many logs could be written.
    async fn round(&self, settled_after: Duration) -> Result<(), ArchiveError> {
        let mut failed = HashSet::new();
        loop {
            let limit = JOBS + failed.len();
            let found = self.store.unarchived_logs(settled_after, limit).await?;
            let is_all = found.len() < limit;
            let mut jobs = found;
            jobs.retain(|job| !failed.contains(job));
            jobs.sort_by_key(|job| job.0.as_u128() ^ self.salt);
            let count = jobs.len();
            let mut archived = stream::iter(jobs)
                .map(async |job| (job, self.archive_one(job).await))
                .buffer_unordered(AT_ONCE);
            let (mut written, mut problem) = (0, None);
            while let Some((job, outcome)) = archived.next().await {
                match outcome {
                    Ok(()) => written += 1,
                    Err(error @ ArchiveError::Store(_)) => return Err(error),
                    Err(error) => {
                        let told = with_causes(&error);
                        tracing::warn!(%job, error = told, "a log is not archived, trying again");
                        failed.insert(job);
                        problem = Some(error);
                    }
                }
            }
            match problem {
                Some(problem) if written == 0 && count > 1 => return Err(problem),
                _ if is_all => return Ok(()),
                _ => {}
            }
        }
    }

    /// Writes a job's log and notes it.
    async fn archive_one(&self, job: JobId) -> Result<(), ArchiveError> {
        let unreadable = match self.write(job).await {
            Ok(()) => None,
            Err(ArchiveError::Store(error)) if error.kind == StoreErrorKind::Corrupt => {
                tracing::error!(%job, %error, "a log can't be read, so that it is not archived");
                Some(error.to_string())
            }
            Err(error) => return Err(error),
        };
        self.store.log_archived(job, unreadable.as_deref()).await?;
        // It may have been forgotten meanwhile, with whatever was there of it then.
        if self.store.job(job).await?.is_none() {
            let location = self.storage.log_archive(job);
            match self.storage.store().delete(&location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes a job's lines as one object, which is there as a whole or not at all. Of a job without lines there is none.
    async fn write(&self, job: JobId) -> Result<(), ArchiveError> {
        let location = self.storage.log_archive(job);
        let lines = self.store.lines(job, 0, PAGE).await?;
        let Some(first) = lines.first() else {
            return Ok(());
        };
        // The first lines are gone: an archive that is there already has them.
        if first.seq > 1 {
            match self.storage.store().head(&location).await {
                Ok(_) => return Ok(()),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut object =
            BufWriter::new(Arc::clone(self.storage.store()), location).with_max_concurrency(1);
        let written = self.write_lines(job, lines, &mut object).await;
        if let Err(error) = written {
            // Parts that nobody completes are kept, and paid for, without an end.
            if let Err(error) = object.abort().await {
                tracing::debug!(%job, %error, "what was written of a log is left");
            }
            return Err(error);
        }
        object.shutdown().await.map_err(ArchiveError::Write)
    }

    async fn write_lines(
        &self,
        job: JobId,
        mut lines: Vec<LogLine>,
        object: &mut BufWriter,
    ) -> Result<(), ArchiveError> {
        let mut zstd = Encoder::new(Vec::new(), LEVEL).map_err(ArchiveError::Write)?;
        while let Some(last) = lines.last().map(|line| line.seq) {
            for line in &lines {
                serde_json::to_writer(&mut zstd, line)?;
                zstd.write_all(b"\n").map_err(ArchiveError::Write)?;
            }
            let bytes = std::mem::take(zstd.get_mut());
            object.put(bytes.into()).await?;
            lines = self.store.lines(job, last, PAGE).await?;
        }
        let bytes = zstd.finish().map_err(ArchiveError::Write)?;
        Ok(object.put(bytes.into()).await?)
    }
}

/// An error with its causes in one line.
fn with_causes(error: &ArchiveError) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// The archive of a job's log, read from its beginning.
pub(crate) struct Archive {
    /// What comes from the storage.
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    /// What came and is not decompressed yet.
    compressed: Bytes,
    /// Ends in what was decompressed and is not a whole line yet. `None` after the end.
    decoder: Option<Decoder<'static, Vec<u8>>>,
}

impl Archive {
    /// `None` if there is none.
    pub(crate) async fn open(
        storage: &ArtifactStorage,
        job: JobId,
    ) -> Result<Option<Self>, ArchiveError> {
        let found = storage.store().get(&storage.log_archive(job)).await;
        match found {
            Ok(object) => Ok(Some(Self {
                chunks: object.into_stream(),
                compressed: Bytes::new(),
                decoder: Some(Decoder::new(Vec::new()).map_err(ArchiveError::Damaged)?),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The next lines; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<LogLine>>, ArchiveError> {
        while let Some(decoder) = &mut self.decoder {
            if self.compressed.is_empty() {
                match self.chunks.next().await {
                    Some(chunk) => self.compressed = chunk?,
                    None => break,
                }
            }
            let slice = self.compressed.split_to(SLICE.min(self.compressed.len()));
            decoder
                .write_all(&slice)
                .and_then(|()| decoder.flush())
                .map_err(ArchiveError::Damaged)?;
            let lines = whole_lines(decoder.get_mut())?;
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        // Nothing more comes: it has to be the end of the archive, too.
        let Some(decoder) = self.decoder.take() else {
            return Ok(None);
        };
        let mut text = decoder.finish().map_err(ArchiveError::Damaged)?;
        let lines = whole_lines(&mut text)?;
        if !text.is_empty() {
            return Err(damaged("it ends within a line"));
        }
        Ok(Some(lines).filter(|lines| !lines.is_empty()))
    }
}

/// Takes the whole lines out of what was decompressed.
fn whole_lines(text: &mut Vec<u8>) -> Result<Vec<LogLine>, ArchiveError> {
    let end = text.iter().rposition(|&byte| byte == b'\n');
    let rest = text.split_off(end.map_or(0, |end| end + 1));
    let whole = std::mem::replace(text, rest);
    if text.len() > LONGEST_LINE {
        return Err(damaged("a line does not end"));
    }
    let lines = whole.split(|&byte| byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    Ok(lines
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()?)
}

fn damaged(message: &'static str) -> ArchiveError {
    ArchiveError::Damaged(std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        message,
    ))
}

#[cfg(test)]
mod tests;
