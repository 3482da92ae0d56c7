//! One server per database file: an advisory lock on a file beside it, which the system gives back however we end.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use etl_core::contract::StoreErrorKind;

use etl_store_sql::{Fault, Result};

/// The right to be the server of a database; given back when it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct ServerLock {
    _file: File,
}

impl ServerLock {
    /// Takes the lock, or says which process has it.
    ///
    /// The file stays when the lock is given back: if it were removed, a third server could lock a new file of the same
    /// name while a second one holds the old.
    pub(crate) fn take(database: &Path) -> Result<Self> {
        let path = lock_path(database);
        let failed = |error: std::io::Error| {
            Fault::said(
                StoreErrorKind::Unavailable,
                format!("can't lock {}: {error}", path.display()),
            )
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(database, &mut file)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// What the lock file of a server says, after the process, that runs whatever jobs are handed in.
const RUNS_JOBS: &str = "runs jobs";

/// Notes in the lock file, which the caller has locked, that its process runs whatever jobs are handed in.
pub(crate) fn announce(database: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(lock_path(database))?;
    writeln!(file, "{RUNS_JOBS}")
}

/// Whether the last server of a database noted so. Whoever could not take the lock knows that it lives.
pub(crate) fn is_announced(database: &Path) -> bool {
    let text = std::fs::read_to_string(lock_path(database)).unwrap_or_default();
    text.lines().nth(1) == Some(RUNS_JOBS)
}

/// The lock file's name: the database's with `.lock` after it.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn held(database: &Path, file: &mut File) -> Fault {
    let mut text = String::new();
    // Whoever holds the lock may not have written its number yet; the refusal stands without it.
    let holder = match file.take(32).read_to_string(&mut text) {
        Ok(_) => text.lines().next().and_then(|pid| pid.parse::<u32>().ok()),
        Err(_) => None,
    };
    let holder = holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
    Fault::said(
        StoreErrorKind::InUse,
        format!(
            "{} is used by {holder}; stop that server first, or use another database",
            database.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_the_lock_and_gets_it_after() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("etl.db");
        let first = ServerLock::take(&database).unwrap();
        let refused = ServerLock::take(&database).unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::InUse);
        let error = refused.of("open");
        let message = std::error::Error::source(&error).unwrap().to_string();
        assert!(message.contains("etl.db"), "{message}");
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
        assert!(!is_announced(&database));
        announce(&database).unwrap();
        assert!(is_announced(&database));
        let refused = ServerLock::take(&database).unwrap_err().of("open");
        let told = std::error::Error::source(&refused).unwrap().to_string();
        assert_eq!(told, message);
        drop(first);
        assert!(ServerLock::take(&database).is_ok());
        assert!(!is_announced(&database), "the next one has not said so");
    }
}
