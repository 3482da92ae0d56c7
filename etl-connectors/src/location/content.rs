//! What an input holds, from its start to its end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path as FsPath;
use std::sync::Arc;

use bytes::Bytes;
use etl_core::model::StepError;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::ObjectStoreExt;
use tokio::runtime::Handle;

use super::path::{Location, contained};
use super::{Compression, Input, decompressed};
use crate::flow::{Flow, fault};

impl Input {
    /// Its content from the start, decompressed. Counts the bytes of the file in the flow's meter, and fails when the attempt is
    /// cancelled. Memory is bounded whatever the ratio of the compression.
    pub(crate) fn read(
        &self,
        flow: &Flow,
        compression: Compression,
    ) -> Result<Box<dyn Read + Send>, StepError> {
        let file = FileReader {
            content: self.open()?,
            flow: flow.clone(),
        };
        let content =
            decompressed(file, compression.of(&self.name)).map_err(|error| self.failed(error))?;
        Ok(Box::new(CheckedReader {
            content,
            flow: flow.clone(),
        }))
    }

    fn open(&self) -> Result<Content, StepError> {
        Ok(match &self.place {
            Location::Local(path) => File::open(path)
                .map(Content::Local)
                .map_err(|error| self.failed(error))?,
            Location::Object(store, path) => {
                let handle = Handle::current();
                let found = handle
                    .block_on(store.get(path))
                    .map_err(|error| fault::object(format!("reading {}", self.name), error))?;
                Content::Object {
                    name: self.name.clone(),
                    chunks: found.into_stream(),
                    chunk: Bytes::new(),
                    handle,
                }
            }
        })
    }

    /// Refuses an artifact that a symbolic link leads elsewhere.
    pub(super) fn contained(&self, root: &FsPath) -> Result<(), StepError> {
        match &self.place {
            Location::Local(path) => contained(path, root),
            Location::Object(..) => Ok(()),
        }
    }

    /// A failure to read it.
    pub(crate) fn failed(&self, error: io::Error) -> StepError {
        fault::io(format!("reading {}", self.name), error)
    }
}

/// Reads the bytes of an [`Input`] as they are. Blocks: for threads that may.
struct FileReader {
    content: Content,
    flow: Flow,
}

/// Stops when the attempt is cancelled: after decompression, because a few bytes of a file may be gigabytes of content.
struct CheckedReader {
    content: Box<dyn Read + Send>,
    flow: Flow,
}

enum Content {
    Local(File),
    Object {
        name: Arc<str>,
        chunks: BoxStream<'static, object_store::Result<Bytes>>,
        chunk: Bytes,
        handle: Handle,
    },
}

impl Read for CheckedReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.flow.check().map_err(fault::smuggled)?;
        self.content.read(into).map_err(|error| {
            // Only decompressors make errors of no kind: zstd says in this way that the content is damaged.
            let is_ours = error
                .get_ref()
                .is_some_and(<dyn std::error::Error + Send + Sync>::is::<StepError>);
            if error.kind() == io::ErrorKind::Other && !is_ours && error.raw_os_error().is_none() {
                io::Error::new(io::ErrorKind::InvalidData, error)
            } else {
                error
            }
        })
    }
}

impl Read for FileReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.content {
            Content::Local(file) => file.read(into)?,
            Content::Object {
                name,
                chunks,
                chunk,
                handle,
            } => {
                while chunk.is_empty() {
                    match handle.block_on(chunks.next()) {
                        Some(next) => {
                            *chunk = next.map_err(|error| {
                                fault::smuggled(fault::object(format!("reading {name}"), error))
                            })?;
                        }
                        None => return Ok(0),
                    }
                }
                let length = chunk.len().min(into.len());
                into[..length].copy_from_slice(&chunk.split_to(length));
                length
            }
        };
        self.flow.meter.add_bytes(read as u64);
        Ok(read)
    }
}
