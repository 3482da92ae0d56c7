//! Where a file sink writes: staged beside the target under the attempt's own name, then published by renaming.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use etl_core::contract::StepContext;
use etl_core::model::{ArtifactName, StepError};
use object_store::ObjectStore;
use object_store::path::Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::beside::{remove, replace_folder, settle_leftovers, sync_folder, temporary_prefix};
use super::output::OutFile;
use super::path::{artifact_name, contained, safe_path};
use crate::flow::fault;

/// What happens to what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The target file or folder becomes exactly this output, in one act.
    #[default]
    Replace,
    /// New files of its own beside those that are there; a repeated attempt replaces its own.
    Append,
    /// The target must not exist.
    Error,
}

/// Where a sink's URL points.
#[derive(Debug)]
pub(crate) struct Target {
    place: TargetPlace,
    folder: bool,
    mode: Mode,
    /// The same for every attempt of the step execution; safe in file names.
    key: String,
    attempt: u32,
    /// Under which artifact name it is declared, with what its URI begins with.
    artifact: Option<(ArtifactName, String)>,
}

#[derive(Debug)]
enum TargetPlace {
    Local(PathBuf),
    Object(Arc<dyn ObjectStore>, Path),
}

impl Target {
    /// The target of a sink's URL. A slash at its end, an existing folder or `partitioned` output make it a folder.
    pub(crate) fn new(
        url: &str,
        mode: Mode,
        partitioned: bool,
        ctx: &StepContext,
    ) -> Result<Self, StepError> {
        let (place, artifact) = match artifact_name(url) {
            Some(name) => {
                let name = name?;
                let area = ctx.artifacts();
                let place = match area.local_path(&name) {
                    Some(path) => {
                        let depth = area.location(&name).parts().count();
                        if let Some(root) = path.ancestors().nth(depth) {
                            contained(&path, root)?;
                        }
                        TargetPlace::Local(path)
                    }
                    None => {
                        TargetPlace::Object(area.storage().store().clone(), area.location(&name))
                    }
                };
                let uri = area.uri(&name);
                (place, Some((name, uri)))
            }
            None => {
                let path = safe_path(url, ctx.task().base_dir.as_ref())?;
                if path.file_name().is_none() {
                    return Err(StepError::permanent(format!(
                        "path {url:?} names no file or folder"
                    )));
                }
                // Without the slash at its end, which would keep a file there from being replaced.
                (TargetPlace::Local(path.components().collect()), None)
            }
        };
        let is_folder = matches!(&place, TargetPlace::Local(path) if path.is_dir());
        let key = ctx.task().key;
        let item = key.step.item.map(|item| format!(".{item}"));
        Ok(Self {
            place,
            folder: partitioned || url.ends_with('/') || is_folder,
            mode,
            key: format!("{}-{}{}", key.job, key.step.step, item.unwrap_or_default()),
            attempt: key.attempt,
            artifact,
        })
    }

    /// The name of the file, to tell its compression from; `None` for a folder.
    pub(crate) fn file_name(&self) -> Option<String> {
        if self.folder {
            return None;
        }
        match &self.place {
            TargetPlace::Local(path) => Some(path.file_name()?.to_string_lossy().into_owned()),
            TargetPlace::Object(_, path) => path.filename().map(str::to_owned),
        }
    }

    /// Begins to write. `extension` is what the files of a folder get, with its dot.
    ///
    /// # Errors
    /// If the target may not be written under its mode; nothing is written then.
    pub(crate) fn stage(self, extension: &str) -> Result<Staging, StepError> {
        let temporary = match &self.place {
            TargetPlace::Object(..) => None,
            TargetPlace::Local(path) => {
                if self.mode == Mode::Error && path.symlink_metadata().is_ok() {
                    return Err(exists(path));
                }
                let (parent, name) = split(path)?;
                if self.folder && self.mode == Mode::Replace {
                    only_own_files(path, extension)?;
                }
                fs::create_dir_all(parent)
                    .map_err(|error| fault::io(format!("making {}", parent.display()), error))?;
                let prefix = temporary_prefix(&name, &self.key);
                settle_leftovers(path, parent, &prefix, self.attempt);
                let temporary = parent.join(format!("{prefix}{}.tmp", self.attempt));
                if self.folder {
                    // Made now and not when it is published: if a later attempt has removed it by then, this one must fail.
                    fs::create_dir_all(&temporary).map_err(|error| {
                        fault::io(format!("making {}", temporary.display()), error)
                    })?;
                }
                Some(temporary)
            }
        };
        Ok(Staging {
            target: self,
            extension: extension.to_owned(),
            temporary,
            files: Vec::new(),
        })
    }
}

/// Output on its way. Dropped before it is published, it removes what it wrote.
#[derive(Debug)]
pub(crate) struct Staging {
    target: Target,
    extension: String,
    /// The file or folder beside the target that is written first; `None` for objects, which are unseen until complete.
    temporary: Option<PathBuf>,
    /// Paths below the target folder, or one empty text for the file itself.
    files: Vec<String>,
}

impl Staging {
    /// A new file of the output: the file itself, or file number `part` in `below` (a relative folder, or nothing).
    pub(crate) fn create(&mut self, below: &str, part: usize) -> Result<OutFile, StepError> {
        let relative = if self.target.folder {
            let slash = if below.is_empty() { "" } else { "/" };
            let own = match self.target.mode {
                Mode::Append => format!("{}-", self.target.key),
                Mode::Replace | Mode::Error => String::new(),
            };
            format!("{below}{slash}part-{own}{part}{}", self.extension)
        } else {
            String::new()
        };
        let file = match (&self.target.place, &self.temporary) {
            (TargetPlace::Object(store, path), _) => {
                // Names of partitions are encoded already; `Path::from` would do it once more.
                let below = Path::parse(&relative).map_err(|error| {
                    StepError::permanent(format!("{relative:?} can't be the name of a file"))
                        .because(error)
                })?;
                let path: Path = path.parts().chain(below.parts()).collect();
                Ok(OutFile::object(store.clone(), path, Handle::current()))
            }
            (TargetPlace::Local(_), Some(temporary)) if relative.is_empty() => {
                OutFile::local(temporary)
            }
            (TargetPlace::Local(_), Some(temporary)) => OutFile::local(&temporary.join(&relative)),
            (TargetPlace::Local(_), None) => Err(io::ErrorKind::InvalidInput.into()),
        };
        self.files.push(relative);
        file.map_err(|error| fault::io("making a file of the output", error))
    }

    /// Makes the output visible and names its files. Every file must be closed.
    pub(crate) fn publish(mut self) -> Result<Vec<String>, StepError> {
        if let (TargetPlace::Local(path), Some(temporary)) =
            (&self.target.place, self.temporary.take())
        {
            let published = if self.target.folder {
                self.publish_folder(path, &temporary)
            } else {
                self.publish_file(path, &temporary)
            };
            if let Err(error) = published {
                self.temporary = Some(temporary);
                return Err(error);
            }
        }
        Ok(self.names())
    }

    /// The artifact to declare once it is published.
    pub(crate) fn artifact(&self) -> Option<ArtifactName> {
        self.target.artifact.as_ref().map(|(name, _)| name.clone())
    }

    fn names(&self) -> Vec<String> {
        let root = match (&self.target.artifact, &self.target.place) {
            (Some((_, uri)), _) => uri.clone(),
            (None, TargetPlace::Local(path)) if self.target.folder => path.display().to_string(),
            (None, TargetPlace::Local(path)) => self.published_file(path).display().to_string(),
            (None, TargetPlace::Object(_, path)) => path.to_string(),
        };
        self.files
            .iter()
            .map(|file| match file.as_str() {
                "" => root.clone(),
                below => format!("{}/{below}", root.trim_end_matches('/')),
            })
            .collect()
    }

    /// Where the one file goes: the target itself, or beside it under a name of the step execution's own.
    fn published_file(&self, path: &FsPath) -> PathBuf {
        if self.target.mode != Mode::Append || self.target.artifact.is_some() {
            return path.to_path_buf();
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The extension begins at the first dot, so that `x.csv.gz` keeps both parts.
        let dot = name
            .char_indices()
            .find(|(at, c)| *at > 0 && *c == '.')
            .map_or(name.len(), |(at, _)| at);
        let (stem, extension) = name.split_at(dot);
        path.with_file_name(format!("{stem}-{}{extension}", self.target.key))
    }

    fn publish_file(&self, path: &FsPath, temporary: &FsPath) -> Result<(), StepError> {
        let to = self.published_file(path);
        let publishing = |error| fault::io(format!("publishing {}", to.display()), error);
        if self.target.mode == Mode::Error {
            // A link, unlike a rename, refuses a target that came into being meanwhile.
            fs::hard_link(temporary, &to).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => exists(&to),
                _ => publishing(error),
            })?;
            fs::remove_file(temporary).map_err(publishing)?;
        } else {
            fs::rename(temporary, &to).map_err(publishing)?;
        }
        sync_folder(to.parent()).map_err(publishing)
    }

    fn publish_folder(&self, path: &FsPath, temporary: &FsPath) -> Result<(), StepError> {
        let publishing = |error| fault::io(format!("publishing {}", path.display()), error);
        let folders: BTreeSet<PathBuf> = self
            .files
            .iter()
            .filter_map(|file| Some(temporary.join(file).parent()?.to_path_buf()))
            .collect();
        for folder in &folders {
            sync_folder(Some(folder)).map_err(publishing)?;
        }
        match self.target.mode {
            Mode::Append => self.merge(path, temporary).map_err(publishing)?,
            Mode::Error if path.symlink_metadata().is_ok() => return Err(exists(path)),
            Mode::Error => fs::rename(temporary, path).map_err(|error| match error.kind() {
                // It came into being meanwhile.
                io::ErrorKind::DirectoryNotEmpty
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::NotADirectory => exists(path),
                _ => publishing(error),
            })?,
            Mode::Replace => replace_folder(path, temporary).map_err(publishing)?,
        }
        sync_folder(path.parent()).map_err(publishing)
    }

    /// Moves the staged files into the folder, after those that an earlier attempt of the same step execution left there.
    fn merge(&self, path: &FsPath, temporary: &FsPath) -> io::Result<()> {
        let new: BTreeSet<PathBuf> = self.files.iter().map(|file| path.join(file)).collect();
        let own = format!("part-{}-", self.target.key);
        let mut found = Vec::new();
        if path.is_dir() {
            files_below(path, &mut found)?;
        }
        for file in found {
            let is_own = file
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&own));
            if is_own && !new.contains(&file) {
                fs::remove_file(file)?;
            }
        }
        for (from, to) in self
            .files
            .iter()
            .map(|file| temporary.join(file))
            .zip(self.files.iter().map(|file| path.join(file)))
        {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::rename(from, &to)?;
            sync_folder(to.parent())?;
        }
        fs::remove_dir_all(temporary)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            remove(temporary);
        }
    }
}

fn exists(path: &FsPath) -> StepError {
    StepError::permanent(format!(
        "{} exists already, and `mode: error` asks that it does not",
        path.display()
    ))
}

fn split(path: &FsPath) -> Result<(&FsPath, std::borrow::Cow<'_, str>), StepError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name.to_string_lossy())),
        _ => Err(StepError::permanent(format!(
            "path {} names no file or folder",
            path.display()
        ))),
    }
}

/// Refuses to replace a folder that holds anything else than files as this sink writes them: a mistyped path must not
/// delete somebody's folder.
fn only_own_files(path: &FsPath, extension: &str) -> Result<(), StepError> {
    if !path.is_dir() {
        return Ok(());
    }
    let mut found = Vec::new();
    files_below(path, &mut found)
        .map_err(|error| fault::io(format!("reading {}", path.display()), error))?;
    let foreign = found.into_iter().find(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        !name.ends_with(extension) && !name.starts_with(['.', '_'])
    });
    match foreign {
        None => Ok(()),
        Some(file) => Err(StepError::permanent(format!(
            "the folder {} would be replaced, but it holds {}, which is no {extension} file; empty it or name another folder",
            path.display(),
            file.display()
        ))),
    }
}

fn files_below(folder: &FsPath, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files_below(&entry.path(), into)?;
        } else {
            into.push(entry.path());
        }
    }
    Ok(())
}
