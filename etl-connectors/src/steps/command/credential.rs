//! The credential of a step, where its program finds it: a file in memory, for the time of the attempt.
//!
//! Never in the environment or the arguments: every process of the same user can read those, and programs print them.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use etl_core::model::StepError;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The variable that tells the program where the file is.
pub(super) const VARIABLE: &str = "ETL_CREDENTIAL_FILE";

/// A file system in memory, so that the credential is on no disk.
const IN_MEMORY: &str = "/dev/shm";
const PREFIX: &str = "etl-credential-";
const NAME: &str = "credential.json";
/// A folder that is younger may be one that somebody is just making.
const LEFT_BEHIND: Duration = Duration::from_mins(1);

/// What a `command` step takes as its credential: an object of whatever fields the program expects.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CommandCredential(pub(super) Map<String, Value>);

impl fmt::Debug for CommandCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandCredential([redacted])")
    }
}

/// The file, which goes with this.
pub(super) struct CredentialFile {
    folder: PathBuf,
    path: PathBuf,
    /// Locked as long as the attempt lives, so that others can tell it from one that a killed process left behind.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is held, not read"))]
    owned: File,
}

impl CredentialFile {
    /// Writes it: mode 0400, in a folder of its own of mode 0700.
    pub(super) fn write(credential: &CommandCredential) -> Result<Self, StepError> {
        let memory = Path::new(IN_MEMORY);
        let base = if memory.is_dir() {
            memory.to_path_buf()
        } else {
            std::env::temp_dir()
        };
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep(&base));
        Self::write_in(&base, credential).map_err(|error| {
            StepError::transient("the credential can't be handed to the program").because(error)
        })
    }

    fn write_in(base: &Path, credential: &CommandCredential) -> std::io::Result<Self> {
        // Its name need not be secret: it is ours alone, or it is not made.
        let name = RandomState::new().hash_one(std::process::id());
        let folder = base.join(format!("{PREFIX}{name:016x}"));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let path = folder.join(NAME);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&path)
            .and_then(|mut file| {
                file.lock()?;
                file.write_all(&serde_json::to_vec(&credential.0)?)?;
                Ok(file)
            });
        match written {
            Ok(owned) => Ok(Self {
                folder,
                path,
                owned,
            }),
            Err(error) => {
                remove(&folder);
                Err(error)
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for CredentialFile {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, folder = %folder.display(), "the file of a credential was not removed");
    }
}

/// Removes what processes left behind that were killed: files of this user that nobody has locked.
fn sweep(base: &Path) {
    let (Ok(entries), Ok(ourselves)) = (std::fs::read_dir(base), std::fs::metadata("/proc/self"))
    else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|about| {
                let age = about.modified().ok().and_then(|at| at.elapsed().ok());
                about.is_dir()
                    && about.uid() == ourselves.uid()
                    && age.is_some_and(|age| age > LEFT_BEHIND)
            });
        if !is_ours {
            continue;
        }
        let folder = entry.path();
        let is_free = match File::open(folder.join(NAME)) {
            Ok(file) => file.try_lock().is_ok(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if is_free {
            remove(&folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::*;

    fn credential() -> CommandCredential {
        CommandCredential(Map::from_iter([("password".into(), "hunter2".into())]))
    }

    #[test]
    fn the_file_is_for_its_owner_alone_and_goes_with_the_attempt() {
        let base = tempfile::tempdir().unwrap();
        let file = CredentialFile::write_in(base.path(), &credential()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(file.path()), mode(&file.folder)), (0o400, 0o700));
        let content = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(content, r#"{"password":"hunter2"}"#);
        drop(file);
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
        assert!(!format!("{:?}", credential()).contains("hunter2"));
    }

    #[test]
    fn what_killed_processes_left_behind_is_removed_and_what_is_used_stays() {
        let base = tempfile::tempdir().unwrap();
        let write = || CredentialFile::write_in(base.path(), &credential()).unwrap();
        let old = SystemTime::now() - 2 * LEFT_BEHIND;
        let age = |folder: &Path| File::open(folder).unwrap().set_modified(old).unwrap();
        let (used, young, left) = (write(), write(), write());
        age(&used.folder);
        age(&left.folder);
        // As a kill leaves it: the lock is gone and the folder is not.
        left.owned.unlock().unwrap();
        sweep(base.path());
        assert!(!left.folder.exists());
        assert!(young.path().exists() && used.path().exists());
    }
}
