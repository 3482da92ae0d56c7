//! Temporary files beside a target: their names, putting them in its place, and what a killed attempt left of them.

use std::fs;
use std::io;
use std::path::Path as FsPath;

/// How much of a target's name the names of its temporary files hold: those have to stay below the 255 bytes of file systems.
const KEPT_OF_A_NAME: usize = 100;

/// Puts the folder `temporary` at `path` and removes what was there.
pub(super) fn replace_folder(path: &FsPath, temporary: &FsPath) -> io::Result<()> {
    if path.symlink_metadata().is_err() {
        return fs::rename(temporary, path);
    }
    match exchange(temporary, path) {
        Ok(()) => {
            remove(temporary);
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
        // Not every system and file system can do that. Then the target is not there for a moment.
        Err(error) => tracing::debug!(%error, "folders can't be exchanged here"),
    }
    let old = temporary.with_extension("old.tmp");
    fs::rename(path, &old)?;
    if let Err(error) = fs::rename(temporary, path) {
        let _ = fs::rename(&old, path);
        return Err(error);
    }
    remove(&old);
    Ok(())
}

/// Swaps two paths in one act, so that whoever looks sees the one or the other.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn exchange(a: &FsPath, b: &FsPath) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE).map_err(io::Error::from)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn exchange(_: &FsPath, _: &FsPath) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What the names of all temporary files begin with that the step execution `key` makes for the target `name`.
pub(super) fn temporary_prefix(name: &str, key: &str) -> String {
    let kept = &name[..name.floor_char_boundary(KEPT_OF_A_NAME)];
    format!(".{kept}.{key}.")
}

/// Settles what earlier attempts of this step execution, killed half-way, left beside the target: a folder that was moved
/// out of the way and not replaced yet goes back, the rest goes. What a later attempt has there is its own.
pub(super) fn settle_leftovers(path: &FsPath, parent: &FsPath, prefix: &str, attempt: u32) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(of) = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(".tmp"))
        else {
            continue;
        };
        let number = of.strip_suffix(".old").unwrap_or(of);
        if number.parse().is_ok_and(|number: u32| number > attempt) {
            continue;
        }
        let is_old = name.ends_with(".old.tmp") && path.symlink_metadata().is_err();
        if !is_old || fs::rename(entry.path(), path).is_err() {
            remove(&entry.path());
        }
    }
}

/// Removes a temporary file or folder; that it can't be removed is no failure of the step.
pub(super) fn remove(path: &FsPath) {
    // A link is removed itself, never what it leads to.
    let removed = if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "a temporary file could not be removed");
    }
}

/// A rename is only durable when the folder is.
pub(super) fn sync_folder(folder: Option<&FsPath>) -> io::Result<()> {
    match folder {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
