//! Where measurements find the programs and leave their files: below cargo's target folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// The folder of results and of what is costly to make again: `bench` in cargo's target folder.
///
/// # Errors
/// If it can't be made.
pub fn bench_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let target = own.parent().and_then(Path::parent);
    let folder = target
        .context("this program is not in a target folder")?
        .join("bench");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// A folder on the same disk that is removed when it is dropped.
///
/// # Errors
/// If it can't be made.
pub fn work_folder() -> Result<TempDir> {
    TempDir::with_prefix_in("work-", bench_folder()?).context("making a folder to work in")
}

/// A program that was built beside this one.
///
/// # Errors
/// If it was not.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    let path = own.with_file_name(name);
    ensure!(
        path.is_file(),
        "there is no {}; build it first, as `cargo xtask bench` does",
        path.display()
    );
    Ok(path)
}
