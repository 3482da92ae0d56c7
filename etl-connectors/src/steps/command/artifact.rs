//! The files that a program leaves as artifacts.

use std::path::{Path, PathBuf};

use etl_core::contract::StepContext;
use etl_core::model::{ArtifactName, BaseDir, StepError};
use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt;

use crate::location::safe_path;

/// The folder that the program may write artifacts to, made for it; `None` where artifacts are not on this machine.
pub(super) fn folder(ctx: &StepContext) -> Result<Option<PathBuf>, StepError> {
    let name = ArtifactName::new("x")
        .map_err(|error| StepError::permanent("no artifact folder").because(error))?;
    let Some(path) = ctx.artifacts().local_path(&name) else {
        return Ok(None);
    };
    let Some(folder) = path.parent() else {
        return Ok(None);
    };
    std::fs::create_dir_all(folder).map_err(|error| {
        StepError::transient("the folder for artifacts can't be made").because(error)
    })?;
    Ok(Some(folder.into()))
}

/// Takes over a file that the program wrote: where it lies in the attempt's own folder already, it stays.
///
/// A relative `path` is against `base`.
pub(super) async fn publish(
    name: &str,
    path: &str,
    base: Option<&Path>,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let name = ArtifactName::new(name).map_err(|error| StepError::permanent(error.to_string()))?;
    let base = base.and_then(Path::to_str).map(BaseDir::closed);
    let path = safe_path(path, base.as_ref())?;
    // Anything else, such as a pipe, might never end.
    if !path.is_file() {
        return Err(StepError::permanent(format!(
            "the artifact {name} can't be taken from {}: no file is there",
            path.display()
        )));
    }
    let is_in_place = ctx.artifacts().local_path(&name).is_some_and(|place| {
        matches!((place.canonicalize(), path.canonicalize()), (Ok(place), Ok(path)) if place == path)
    });
    if !is_in_place {
        let unread = |error: std::io::Error| {
            StepError::permanent(format!("the artifact {} can't be read", path.display()))
                .because(error)
        };
        let mut file = tokio::fs::File::open(&path).await.map_err(unread)?;
        let store = ctx.artifacts().storage().store().clone();
        let mut writer = BufWriter::new(store, ctx.artifacts().location(&name));
        tokio::io::copy(&mut file, &mut writer)
            .await
            .map_err(|error| StepError::transient("the artifact can't be stored").because(error))?;
        writer
            .shutdown()
            .await
            .map_err(|error| StepError::transient("the artifact can't be stored").because(error))?;
    }
    ctx.publish(name).await;
    Ok(())
}
