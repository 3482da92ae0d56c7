//! From what a user wrote to a path or an object: the one choke point.

use std::path::{Component, Path as FsPath, PathBuf};
use std::sync::Arc;

use etl_core::contract::StepContext;
use etl_core::model::{ArtifactName, BaseDir, StepError};
use object_store::ObjectStore;
use object_store::path::Path;
use percent_encoding::percent_decode_str;

use crate::flow::fault;

/// The longest path that is looked at.
const MAX_PATH_BYTES: usize = 4096;

/// Where a URL points.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// On this machine. It may hold a glob pattern.
    Local(PathBuf),
    /// In the deployment's storage.
    Object(Arc<dyn ObjectStore>, Path),
}

/// Checks a path that a user wrote: the only way from configuration to the file system.
///
/// Takes absolute paths, `file:` URLs (percent-decoded) and paths relative to `base`. Refuses the empty path, NUL, more than
/// 4,096 bytes, other schemes, a relative path where there is no `base`, a `..` that leads out of `base.root`, and any `..`
/// in an absolute path.
pub(crate) fn safe_path(text: &str, base: Option<&BaseDir>) -> Result<PathBuf, StepError> {
    let refuse = |why: &str| {
        // The text is quoted so that control characters in it can't forge log lines.
        let shown: String = text.chars().take(200).collect();
        Err(StepError::permanent(format!("path {shown:?} {why}")))
    };
    let decoded;
    let path = match scheme(text) {
        None => text,
        Some("file") => {
            let rest = &text["file:".len()..];
            let rest = match rest.strip_prefix("//") {
                None => rest,
                Some(rest) => match rest.strip_prefix("localhost").unwrap_or(rest) {
                    path if path.is_empty() || path.starts_with('/') => path,
                    // RFC 8089: what follows two slashes is a host.
                    _ => {
                        return refuse(
                            "names a host after `file://`; write `file:///` and the absolute path",
                        );
                    }
                },
            };
            match percent_decode_str(rest).decode_utf8() {
                Ok(text) => {
                    decoded = text;
                    &*decoded
                }
                Err(_) => return refuse("is not UTF-8 when percent-decoded"),
            }
        }
        Some("artifact") => {
            return refuse(
                "names this step's own output, which can only be written; to read what another step wrote, use \
                 `{{ steps.NAME.artifacts['FILE'] }}`",
            );
        }
        Some(scheme @ ("http" | "https" | "s3")) => {
            return refuse(&format!(
                "has the scheme `{scheme}:`, which is not built in yet"
            ));
        }
        Some(scheme) => {
            return refuse(&format!(
                "has the unknown scheme `{scheme}:`; known are `file:`, `artifact:` and plain paths"
            ));
        }
    };
    if path.is_empty() {
        return refuse("is empty");
    }
    if path.len() > MAX_PATH_BYTES {
        return refuse("is longer than 4,096 bytes");
    }
    if path.contains('\0') {
        return refuse("has a NUL character");
    }
    let fs_path = FsPath::new(path);
    let has_parent = fs_path
        .components()
        .any(|part| part == Component::ParentDir);
    let is_foreign = path.contains('\\') && path.split(['\\', '/']).any(|part| part == "..");
    if is_foreign || has_parent && fs_path.is_absolute() {
        return refuse("has a `..`; give the absolute path instead");
    }
    if fs_path.is_absolute() {
        return Ok(fs_path.to_path_buf());
    }
    let Some(base) = base else {
        return refuse(
            "is relative, and there is no folder to read it against (the pipeline did not come from a file); give an \
             absolute path or a `file:` URL",
        );
    };
    match below(FsPath::new(&*base.folder), fs_path) {
        Some(path) if !has_parent || path.starts_with(&*base.root) => Ok(path),
        _ => refuse(&format!(
            "leads by its `..` out of {}; give the absolute path instead, or run the pipeline from a folder around both",
            base.root
        )),
    }
}

/// `path` read against `folder` by its text alone, each `..` undoing the part before it; `None` if there is none to undo.
fn below(folder: &FsPath, path: &FsPath) -> Option<PathBuf> {
    let mut joined = folder.to_path_buf();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !joined.pop() {
                    return None;
                }
            }
            part => joined.push(part),
        }
    }
    Some(joined)
}

/// Where a source's URL points.
pub(crate) fn locate_source(url: &str, ctx: &StepContext) -> Result<Location, StepError> {
    let storage = ctx.artifacts().storage();
    // An artifact's URI is the storage's own text: a `file:` one is a plain path that must not be percent-decoded.
    if let Some(path) = storage.locate(url) {
        return match url.strip_prefix("file://") {
            Some(path) => safe_path(path, None).map(Location::Local),
            None => Ok(Location::Object(storage.store().clone(), path)),
        };
    }
    safe_path(url, ctx.task().base_dir.as_ref()).map(Location::Local)
}

/// The folder that an artifact's URI has to stay in; `None` if the URL is none of this machine.
pub(super) fn artifact_root(url: &str, ctx: &StepContext) -> Option<PathBuf> {
    let below = ctx.artifacts().storage().locate(url)?;
    let path = FsPath::new(url.strip_prefix("file://")?);
    Some(path.ancestors().nth(below.parts().count())?.to_path_buf())
}

/// Refuses a path of an artifact that a symbolic link leads out of `root`, the folder of all artifacts.
pub(super) fn contained(path: &FsPath, root: &FsPath) -> Result<(), StepError> {
    let resolve = |path: &FsPath| {
        path.canonicalize()
            .map_err(|error| fault::io(format!("resolving {}", path.display()), error))
    };
    // What does not exist yet can't lead anywhere: the deepest part that exists decides.
    match path
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok())
    {
        Some(existing) if !resolve(existing)?.starts_with(resolve(root)?) => {
            Err(StepError::permanent(format!(
                "a symbolic link leads the artifact {} out of the folder of artifacts",
                path.display()
            )))
        }
        _ => Ok(()),
    }
}

/// The artifact that a sink's URL names; `None` if the URL is of another kind. A slash at the end is left out.
pub(super) fn artifact_name(url: &str) -> Option<Result<ArtifactName, StepError>> {
    let name = url.strip_prefix("artifact:")?;
    let name = name.strip_prefix("//").unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    Some(ArtifactName::new(name).map_err(|error| StepError::permanent(error.to_string())))
}

/// The scheme of a URL; `None` for a plain path. One letter is a drive or a strange file name, not a scheme.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> BaseDir {
        BaseDir {
            folder: "/base/pipelines".into(),
            root: "/base".into(),
        }
    }

    fn path(text: &str) -> PathBuf {
        safe_path(text, Some(&base())).unwrap()
    }

    #[test]
    fn every_spelling_of_a_file_is_understood() {
        assert_eq!(path("x.csv"), FsPath::new("/base/pipelines/x.csv"));
        assert_eq!(
            path("./a b/x.csv"),
            FsPath::new("/base/pipelines/a b/x.csv")
        );
        assert_eq!(path("/data/x.csv"), FsPath::new("/data/x.csv"));
        assert_eq!(path("file:///data/x%20y.csv"), FsPath::new("/data/x y.csv"));
        assert_eq!(path("file:/data/x.csv"), FsPath::new("/data/x.csv"));
        assert_eq!(path("file://localhost/data/x"), FsPath::new("/data/x"));
        assert_eq!(path("file:x.csv"), FsPath::new("/base/pipelines/x.csv"));
        assert_eq!(path("100%.csv"), FsPath::new("/base/pipelines/100%.csv"));
        assert_eq!(path("../data/x.csv"), FsPath::new("/base/data/x.csv"));
        assert_eq!(path("a/../x.csv"), FsPath::new("/base/pipelines/x.csv"));
        assert_eq!(path("a:b.csv"), FsPath::new("/base/pipelines/a:b.csv"));
    }

    #[test]
    fn what_would_leave_or_confuse_is_refused_with_the_reason() {
        let long = "x".repeat(5000);
        for (text, reason) in [
            ("", "empty"),
            ("file:", "empty"),
            ("../../x", "out of /base"),
            ("a/../../../x", "out of /base"),
            ("../../base2/x", "out of /base"),
            ("../../../../../../x", "out of /base"),
            ("file:..%2f..%2fx", "out of /base"),
            ("/data/../etc/passwd", "`..`"),
            ("file:///data/%2e%2e/x", "`..`"),
            ("file:///data/..%2fx", "`..`"),
            ("..\\x", "`..`"),
            ("x\0y", "NUL"),
            ("file:///x%00y", "NUL"),
            ("file:///%ff", "UTF-8"),
            ("file://server/share/x", "host"),
            ("file://x.csv", "host"),
            ("s3://bucket/x", "not built in yet"),
            ("https://example.org/x", "not built in yet"),
            ("artifact://x", "steps.NAME"),
            ("gopher://x", "unknown scheme"),
            (&long, "4,096"),
        ] {
            let error = safe_path(text, Some(&base())).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_relative_path_needs_a_folder() {
        let error = safe_path("x.csv", None).unwrap_err().to_string();
        assert!(error.contains("relative"), "{error}");
    }
}
