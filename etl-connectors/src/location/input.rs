//! The files that a source's URL names, and reading them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use etl_core::model::StepError;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;

use super::path::{Location, locate_source};
use crate::flow::{Flow, blocking, fault};

/// The folder name that stands for a null partition value, by Hive's convention.
pub(crate) const PARTITION_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// How a shell matches: a wildcard never crosses a slash or takes a hidden file.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// One file to read.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// Its path or URI, for messages.
    pub(crate) name: Arc<str>,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// The `key=value` folders that it lies in, outermost first; `None` is Hive's null.
    pub(crate) partitions: Vec<(String, Option<String>)>,
    pub(crate) place: Location,
}

/// The files that `url` names, in sorted order: one file, all files of a folder, or all that match a pattern. At least one.
pub(crate) async fn inputs(url: &str, flow: &Flow) -> Result<Vec<Input>, StepError> {
    let found = match locate_source(url, &flow.ctx)? {
        Location::Local(path) => {
            let url = url.to_owned();
            blocking("looking for files", move || local_inputs(&url, &path)).await?
        }
        Location::Object(store, path) => object_inputs(url, store, &path).await?,
    };
    if found.is_empty() {
        return Err(StepError::permanent(format!(
            "no file matches {url:?}; check the pattern and the folder"
        )));
    }
    flow.meter
        .expect_bytes(found.iter().map(|input| input.size).sum());
    Ok(found)
}

fn local_inputs(url: &str, path: &FsPath) -> Result<Vec<Input>, StepError> {
    let text = path
        .to_str()
        .ok_or_else(|| StepError::permanent(format!("path {url:?} is not UTF-8")))?;
    let reading = |path: &FsPath| format!("reading {}", path.display());
    // A file of exactly this name wins over the pattern that the name may also be.
    let exact = match path.metadata() {
        Ok(found) => Some(found),
        Err(error) if text.contains(['*', '?', '[']) => {
            tracing::debug!(%error, "not a file of that name, so a pattern");
            None
        }
        Err(error) => return Err(fault::io(reading(path), error)),
    };
    let mut paths = Vec::new();
    let root = match exact {
        Some(found) if found.is_dir() => {
            walk(path, &mut paths).map_err(|error| fault::io(reading(path), error))?;
            path.to_path_buf()
        }
        Some(_) => {
            paths.push(path.to_path_buf());
            path.to_path_buf()
        }
        None => {
            let matches = glob::glob_with(text, MATCHING).map_err(|error| {
                StepError::permanent(format!("pattern {url:?} is not valid")).because(error)
            })?;
            for found in matches {
                let found = found.map_err(|error| {
                    let path = error.path().to_path_buf();
                    fault::io(reading(&path), error.into())
                })?;
                if found.is_dir() {
                    // `year=*` names the partitions; their files are meant. `**` names files and folders alike.
                    if !text.ends_with("**") {
                        walk(&found, &mut paths)
                            .map_err(|error| fault::io(reading(&found), error))?;
                    }
                } else {
                    paths.push(found);
                }
            }
            fixed_prefix(text)
        }
    };
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .map(|path| {
            let size = path
                .metadata()
                .map_err(|error| fault::io(reading(&path), error))?
                .len();
            let below = path.strip_prefix(&root).unwrap_or(&path);
            let folders = below.parent().unwrap_or(FsPath::new(""));
            Ok(Input {
                name: path.display().to_string().into(),
                size,
                partitions: folders
                    .components()
                    .filter_map(|part| part.as_os_str().to_str())
                    .filter_map(partition)
                    .collect(),
                place: Location::Local(path),
            })
        })
        .collect()
}

/// Every file below `folder` but hidden ones and those that begin with `_`, which by convention are not data.
fn walk(folder: &FsPath, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if is_hidden(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            walk(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
}

/// The folder above the first part that is a pattern.
fn fixed_prefix(pattern: &str) -> PathBuf {
    FsPath::new(pattern)
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']))
        .collect()
}

/// A folder's name as a Hive partition.
fn partition(folder: &str) -> Option<(String, Option<String>)> {
    let (key, value) = folder.split_once('=')?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let value = (value != PARTITION_NULL).then(|| decoded(value));
    Some((decoded(key), value))
}

async fn object_inputs(
    url: &str,
    store: Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<Vec<Input>, StepError> {
    let reading = || format!("reading {url}");
    match store.head(path).await {
        Ok(found) => return Ok(vec![object_input(url, path, &store, found)]),
        Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(fault::object(reading(), error)),
    }
    let pattern = path
        .as_ref()
        .contains(['*', '?', '['])
        .then(|| Pattern::new(path.as_ref()))
        .transpose()
        .map_err(|error| {
            StepError::permanent(format!("pattern {url:?} is not valid")).because(error)
        })?;
    let root = match &pattern {
        None => path.clone(),
        Some(_) => path
            .parts()
            .take_while(|part| !part.as_ref().contains(['*', '?', '[']))
            .collect(),
    };
    let mut found: Vec<_> = store
        .list(Some(&root))
        .try_collect()
        .await
        .map_err(|error| fault::object(reading(), error))?;
    found.retain(|object| match &pattern {
        Some(pattern) => pattern.matches_with(object.location.as_ref(), MATCHING),
        None => !object.location.filename().is_some_and(is_hidden),
    });
    found.sort_by(|a, b| a.location.cmp(&b.location));
    if found.is_empty() && pattern.is_none() {
        return Err(StepError::permanent(format!(
            "reading {url} failed: it is not there"
        )));
    }
    Ok(found
        .into_iter()
        .map(|object| {
            let name = format!("{} in {url}", object.location);
            object_input(&name, &root, &store, object)
        })
        .collect())
}

fn object_input(
    name: &str,
    root: &Path,
    store: &Arc<dyn ObjectStore>,
    found: object_store::ObjectMeta,
) -> Input {
    let depth = root.parts().count();
    let below: Vec<_> = found.location.parts().skip(depth).collect();
    Input {
        name: name.into(),
        size: found.size,
        partitions: below
            .iter()
            .filter_map(|part| partition(part.as_ref()))
            .collect(),
        place: Location::Object(store.clone(), found.location),
    }
}

impl Input {
    /// Its content from the start. Counts what is read in the flow's meter and fails when the attempt is cancelled.
    pub(crate) fn read(&self, flow: &Flow) -> Result<InputReader, StepError> {
        let bytes = match &self.place {
            Location::Local(path) => File::open(path)
                .map(Content::Local)
                .map_err(|error| self.failed(error))?,
            Location::Object(store, path) => {
                let handle = Handle::current();
                let found = handle
                    .block_on(store.get(path))
                    .map_err(|error| fault::object(format!("reading {}", self.name), error))?;
                Content::Object {
                    chunks: found.into_stream(),
                    chunk: Bytes::new(),
                    handle,
                }
            }
        };
        Ok(InputReader {
            bytes,
            flow: flow.clone(),
        })
    }

    /// A failure to read it.
    pub(crate) fn failed(&self, error: io::Error) -> StepError {
        fault::io(format!("reading {}", self.name), error)
    }
}

/// Reads an [`Input`]. Blocks: for threads that may.
pub(crate) struct InputReader {
    bytes: Content,
    flow: Flow,
}

enum Content {
    Local(File),
    Object {
        chunks: BoxStream<'static, object_store::Result<Bytes>>,
        chunk: Bytes,
        handle: Handle,
    },
}

impl Read for InputReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.flow.check().map_err(fault::smuggled)?;
        let read = match &mut self.bytes {
            Content::Local(file) => file.read(into)?,
            Content::Object {
                chunks,
                chunk,
                handle,
            } => {
                while chunk.is_empty() {
                    match handle.block_on(chunks.next()) {
                        Some(next) => *chunk = next?,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &FsPath) -> Vec<String> {
        let root = pattern.to_str().unwrap();
        local_inputs(root, pattern)
            .unwrap()
            .iter()
            .map(|input| input.name.rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn patterns_and_folders_give_their_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "b.csv",
            "a.csv",
            ".hidden.csv",
            "deep/er/c.csv",
            "deep/d.txt",
            "_log",
        ] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), "x").unwrap();
        }
        assert_eq!(found(&at("*.csv")), ["a.csv", "b.csv"]);
        assert_eq!(found(&at("[bc].csv")), ["b.csv"]);
        assert_eq!(found(&at("?.csv")), ["a.csv", "b.csv"]);
        assert_eq!(found(&at("**/*.csv")), ["a.csv", "b.csv", "c.csv"]);
        assert_eq!(found(folder.path()), ["a.csv", "b.csv", "d.txt", "c.csv"]);
        assert_eq!(found(&at("*.none")), [""; 0]);
    }

    #[test]
    fn a_file_named_like_a_pattern_is_that_file() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["[a].csv", "a.csv"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        assert_eq!(found(&folder.path().join("[a].csv")), ["[a].csv"]);
    }

    #[test]
    fn partition_folders_are_read_from_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("year=2013/city=S%C3%A3o/x.parquet");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "x").unwrap();
        let expected = vec![
            ("year".to_owned(), Some("2013".to_owned())),
            ("city".to_owned(), Some("São".to_owned())),
        ];
        for pattern in ["", "*", "year=*/*/*.parquet", "**/*.parquet"] {
            let path = folder.path().join(pattern);
            let inputs = local_inputs("x", &path).unwrap();
            assert_eq!(inputs[0].partitions, expected, "{pattern}");
        }
    }
}
