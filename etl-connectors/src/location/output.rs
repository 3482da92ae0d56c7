//! One file being written, on this machine or in an object store.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path as FsPath;
use std::sync::Arc;

use bytes::BytesMut;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Handle;

/// Object stores ask for at least 5 MiB a part.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// A new file. Nobody sees it before [`close`](Self::close) where the store is an object store.
#[derive(Debug)]
pub(crate) struct OutFile {
    inner: Inner,
    written: u64,
}

#[derive(Debug)]
enum Inner {
    Local(File),
    Object(Upload),
}

#[derive(Debug)]
struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    buffer: BytesMut,
    parts: Option<Box<dyn MultipartUpload>>,
    handle: Handle,
}

impl OutFile {
    /// A new file at `path`; folders above it are made. An old one there is emptied.
    pub(crate) fn local(path: &FsPath) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Self {
            inner: Inner::Local(file),
            written: 0,
        })
    }

    /// A new object, written in parts. Writes block on `handle`, so they belong on a thread that may.
    pub(crate) fn object(store: Arc<dyn ObjectStore>, path: Path, handle: Handle) -> Self {
        Self {
            inner: Inner::Object(Upload {
                store,
                path,
                buffer: BytesMut::new(),
                parts: None,
                handle,
            }),
            written: 0,
        }
    }

    /// Completes it, durably, and says how many bytes it has.
    pub(crate) fn close(self) -> io::Result<u64> {
        match self.inner {
            Inner::Local(file) => file.sync_all()?,
            Inner::Object(upload) => upload.complete()?,
        }
        Ok(self.written)
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.inner {
            Inner::Local(file) => file.write(bytes)?,
            Inner::Object(upload) => upload.write(bytes)?,
        };
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Local(file) => file.flush(),
            Inner::Object(_) => Ok(()),
        }
    }
}

impl Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= PART_BYTES {
            let part = self.buffer.split_to(PART_BYTES).freeze();
            let parts = match &mut self.parts {
                Some(parts) => parts,
                empty => {
                    let begun = self.handle.block_on(self.store.put_multipart(&self.path))?;
                    empty.insert(begun)
                }
            };
            self.handle
                .block_on(parts.put_part(PutPayload::from_bytes(part)))?;
        }
        Ok(bytes.len())
    }

    fn complete(mut self) -> io::Result<()> {
        let rest = PutPayload::from_bytes(std::mem::take(&mut self.buffer).freeze());
        match &mut self.parts {
            None => {
                self.handle.block_on(self.store.put(&self.path, rest))?;
            }
            Some(parts) => {
                if rest.content_length() > 0 {
                    self.handle.block_on(parts.put_part(rest))?;
                }
                self.handle.block_on(parts.complete())?;
            }
        }
        self.parts = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Parts of an upload that nobody completes cost money until they are aborted.
        if let Some(mut parts) = self.parts.take() {
            self.handle.spawn(async move { parts.abort().await });
        }
    }
}
