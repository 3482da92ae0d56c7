//! The files that a source's URL names.

use std::io;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use etl_core::model::StepError;
use futures_util::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use percent_encoding::percent_decode_str;

use super::path::{Location, artifact_root, locate_source};
use crate::flow::{Flow, blocking, fault};

/// The folder name that stands for a null partition value, by Hive's convention.
pub(crate) const PARTITION_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// How a shell matches: a wildcard never crosses a slash. Hidden files are left out by [`is_below_hidden`], because the `glob`
/// crate panics over names that are not UTF-8 when it is told to leave them out.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
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
            let root = artifact_root(&url, &flow.ctx);
            blocking("looking for files", move || {
                let found = local_inputs(&url, &path)?;
                if let Some(root) = root {
                    for input in &found {
                        input.contained(&root)?;
                    }
                }
                Ok(found)
            })
            .await?
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
            let (root, pattern) = pattern_of(path);
            let wants_hidden = is_below_hidden(path, &root);
            let matches = glob::glob_with(&pattern, MATCHING).map_err(|error| {
                StepError::permanent(format!("pattern {url:?} is not valid")).because(error)
            })?;
            for found in matches {
                let found = found.map_err(|error| {
                    let path = error.path().to_path_buf();
                    fault::io(reading(&path), error.into())
                })?;
                if !wants_hidden && is_below_hidden(&found, &root) {
                    continue;
                }
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
            root
        }
    };
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .map(|path| {
            let found = path
                .metadata()
                .map_err(|error| fault::io(reading(&path), error))?;
            // A source may be read more than once, and opening a pipe that nobody writes to waits for ever.
            if !found.is_file() {
                return Err(StepError::permanent(format!(
                    "reading {} failed: it is no regular file",
                    path.display()
                )));
            }
            let below = path.strip_prefix(&root).unwrap_or(&path);
            let folders = below.parent().unwrap_or(FsPath::new(""));
            Ok(Input {
                name: path.display().to_string().into(),
                size: found.len(),
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
            // A link to a folder above would be walked down until the path is too long, and every file be read again and again.
            if entry.file_type()?.is_symlink()
                && folder.canonicalize()?.starts_with(path.canonicalize()?)
            {
                continue;
            }
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

/// Whether `path` has a part below `root` that is hidden.
fn is_below_hidden(path: &FsPath, root: &FsPath) -> bool {
    path.strip_prefix(root)
        .unwrap_or(path)
        .components()
        .any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
}

/// The folder above the first part that is a pattern, and the whole as a pattern. As with files, a folder of exactly this name
/// wins over the pattern that the name may also be.
fn pattern_of(path: &FsPath) -> (PathBuf, String) {
    let mut root = PathBuf::new();
    let mut parts = path.components().peekable();
    while let Some(part) = parts.peek() {
        let next = root.join(part);
        let is_pattern = part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
        if is_pattern && !next.is_dir() {
            break;
        }
        root = next;
        parts.next();
    }
    let mut pattern = Pattern::escape(&root.to_string_lossy());
    for part in parts {
        if !pattern.is_empty() && !pattern.ends_with('/') {
            pattern.push('/');
        }
        pattern.push_str(&part.as_os_str().to_string_lossy());
    }
    (root, pattern)
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
    // What stands before the path in URLs of this store, so that names are URLs too.
    let base = url
        .trim_end_matches('/')
        .strip_suffix(path.as_ref())
        .unwrap_or_default();
    Ok(found
        .into_iter()
        .map(|object| {
            let name = format!("{base}{}", object.location);
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
