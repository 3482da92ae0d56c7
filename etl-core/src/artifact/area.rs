//! Where artifacts are, over `object_store`: no trait of our own.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};

use super::presign::{Lifetime, PresignError, PresignedUrl, Presigner};
use crate::model::{ArtifactName, AttemptKey, JobId};

/// The root of a deployment's artifacts.
#[derive(Debug, Clone)]
pub struct ArtifactStorage {
    store: Arc<dyn ObjectStore>,
    root: Path,
    /// What URIs begin with, without a slash at the end.
    base_uri: Arc<str>,
    folder: Option<Arc<FsPath>>,
    presigner: Option<Arc<dyn Presigner>>,
}

/// The most files of one artifact that [`ArtifactStorage::presign`] gives URLs of.
const MOST_FILES: usize = 10_000;

/// A storage URL that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("storage folder {folder}: {message}")]
pub struct BadStorageUrl {
    folder: String,
    message: &'static str,
    #[source]
    source: Option<crate::model::BoxError>,
}

impl ArtifactStorage {
    /// Artifacts below a folder of this machine; it is made if it is missing.
    ///
    /// # Errors
    /// If the folder can't be made or resolved.
    pub fn folder(folder: impl AsRef<FsPath>) -> Result<Self, BadStorageUrl> {
        let folder = folder.as_ref();
        let fail = |message, source| BadStorageUrl {
            folder: folder.display().to_string(),
            message,
            source,
        };
        std::fs::create_dir_all(folder).map_err(|e| fail("it can't be made", Some(e.into())))?;
        let absolute = folder
            .canonicalize()
            .map_err(|e| fail("it can't be resolved", Some(e.into())))?;
        let text = absolute
            .to_str()
            .ok_or_else(|| fail("its path is not UTF-8", None))?;
        let base_uri = format!("file://{}", text.trim_end_matches('/')).into();
        let store = LocalFileSystem::new_with_prefix(&absolute)
            .map_err(|e| fail("it can't be used", Some(e.into())))?;
        Ok(Self {
            store: Arc::new(store.with_automatic_cleanup(true)),
            root: Path::default(),
            base_uri,
            folder: Some(absolute.into()),
            presigner: None,
        })
    }

    /// Artifacts in this process's memory.
    pub fn memory() -> Self {
        Self {
            store: Arc::new(InMemory::new()),
            root: Path::default(),
            base_uri: "memory://".into(),
            folder: None,
            presigner: None,
        }
    }

    /// Artifacts in any object store, below `root`. `base_uri` is what their URIs begin with.
    pub fn object_store(
        store: Arc<dyn ObjectStore>,
        root: Path,
        base_uri: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            store,
            root,
            base_uri: base_uri.into(),
            folder: None,
            presigner: None,
        }
    }

    /// The same storage, which can also give URLs by which others read from it.
    pub fn with_presigner(mut self, presigner: Arc<dyn Presigner>) -> Self {
        self.presigner = Some(presigner);
        self
    }

    /// URLs by which whoever has them reads an artifact over HTTP for a time, without credentials: one for a file, one for each
    /// file of a folder. With the URL comes the file's path below the artifact, which is empty for the artifact itself.
    ///
    /// # Errors
    /// If the storage has no such URLs, if the artifact is in another storage or gone, or if it has more than 10,000 files.
    pub async fn presign(
        &self,
        uri: &str,
        lifetime: Lifetime,
    ) -> Result<Vec<(String, PresignedUrl)>, PresignError> {
        let presigner = self.presigner.as_ref().ok_or(PresignError::Unsupported)?;
        let uri_of = || uri.to_owned();
        let location = self
            .locate(uri)
            .ok_or_else(|| PresignError::Elsewhere { uri: uri_of() })?;
        match self.store.head(&location).await {
            Ok(_) => {
                let url = presigner.presign_get(&location, lifetime).await?;
                return Ok(vec![(String::new(), url)]);
            }
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let mut files = self.store.list(Some(&location));
        let mut urls = Vec::new();
        while let Some(file) = files.try_next().await? {
            if urls.len() == MOST_FILES {
                return Err(PresignError::TooMany { uri: uri_of() });
            }
            let below = file.location.prefix_match(&location).into_iter().flatten();
            let below: Path = below.collect();
            let url = presigner.presign_get(&file.location, lifetime).await?;
            urls.push((String::from(below), url));
        }
        if urls.is_empty() {
            return Err(PresignError::Gone { uri: uri_of() });
        }
        urls.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(urls)
    }

    /// Where the archive of a job's log is: beside what its attempts left, and gone with that.
    pub fn log_archive(&self, job: JobId) -> Path {
        let below = Path::from(format!("jobs/{job}/log.ndjson.zst"));
        self.root.parts().chain(below.parts()).collect()
    }

    /// Where a server notes what its audit log came to: beside the jobs.
    pub fn audit_checkpoints(&self) -> Path {
        let below = Path::from("audit/checkpoints");
        self.root.parts().chain(below.parts()).collect()
    }

    /// Removes everything that the attempts of a job left, and the archive of its log. What is not there is removed already.
    ///
    /// # Errors
    /// If the storage can't be reached or refuses it; a part may be gone.
    pub async fn remove_job(&self, job: JobId) -> object_store::Result<()> {
        let below = format!("jobs/{job}");
        if let Some(folder) = &self.folder {
            // As a whole: there may be folders without a file, and files that no object could be named after.
            return remove_folder(folder.join(below)).await;
        }
        let below = Path::from(below);
        let prefix: Path = self.root.parts().chain(below.parts()).collect();
        let files = self.store.list(Some(&prefix));
        let files = files.map_ok(|file| file.location).boxed();
        let mut gone = self.store.delete_stream(files);
        while let Some(removed) = gone.next().await {
            match removed {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The area of one attempt.
    pub fn area(&self, key: &AttemptKey) -> ArtifactArea {
        let item = key
            .step
            .item
            .map(|item| format!(".{item}"))
            .unwrap_or_default();
        let below = format!("jobs/{}/{}{item}/{}", key.job, key.step.step, key.attempt);
        ArtifactArea {
            storage: self.clone(),
            below: below.into(),
        }
    }

    /// The object store that all of it is in.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Where an artifact's URI points in [`store`](Self::store); `None` if it is not of this storage.
    pub fn locate(&self, uri: &str) -> Option<Path> {
        let below = uri.strip_prefix(&*self.base_uri)?.strip_prefix('/')?;
        let relative = Path::parse(below).ok()?;
        Some(self.root.parts().chain(relative.parts()).collect())
    }
}

async fn remove_folder(folder: PathBuf) -> object_store::Result<()> {
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await?;
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::Generic {
            store: "LocalFileSystem",
            source: error.into(),
        }),
        _ => Ok(()),
    }
}

/// Where one attempt's artifacts go: a prefix that no other attempt writes to.
#[derive(Debug, Clone)]
pub struct ArtifactArea {
    storage: ArtifactStorage,
    below: Arc<str>,
}

impl ArtifactArea {
    /// The storage that it is part of.
    pub fn storage(&self) -> &ArtifactStorage {
        &self.storage
    }

    /// The URI under which others find the artifact.
    pub fn uri(&self, name: &ArtifactName) -> String {
        format!("{}/{}/{name}", self.storage.base_uri, self.below)
    }

    /// Where the artifact goes in the storage's object store.
    pub fn location(&self, name: &ArtifactName) -> Path {
        let below = format!("{}/{name}", self.below);
        // As it is, for the URI has it as it is; a checked name has no part that a path can't have.
        let below = Path::parse(&below).unwrap_or_else(|_| Path::from(below));
        self.storage.root.parts().chain(below.parts()).collect()
    }

    /// The artifact's path on this machine, where the storage is a folder of it.
    pub fn local_path(&self, name: &ArtifactName) -> Option<PathBuf> {
        self.storage
            .folder
            .as_ref()
            .map(|folder| folder.join(&*self.below).join(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StepKey;

    fn key(attempt: u32) -> AttemptKey {
        AttemptKey {
            job: JobId(uuid::Uuid::nil()),
            step: StepKey::item(3, 7),
            attempt,
        }
    }

    #[test]
    fn attempts_never_share_a_prefix_and_uris_lead_back() {
        let storage = ArtifactStorage::memory();
        for name in ["out/part-0.parquet", "100 %/[a]#é?.csv"] {
            let name = ArtifactName::new(name).unwrap();
            let (first, second) = (storage.area(&key(1)), storage.area(&key(2)));
            assert_ne!(first.uri(&name), second.uri(&name));
            assert_eq!(
                storage.locate(&first.uri(&name)),
                Some(first.location(&name))
            );
        }
        assert_eq!(storage.locate("file:///etc/passwd"), None);
    }

    /// Signs by writing down what it was asked for.
    #[derive(Debug)]
    struct Plain;

    #[async_trait::async_trait]
    impl Presigner for Plain {
        async fn presign_get(
            &self,
            location: &Path,
            lifetime: Lifetime,
        ) -> object_store::Result<PresignedUrl> {
            let seconds = lifetime.as_duration().as_secs();
            Ok(PresignedUrl::new(format!("{location}?{seconds}")))
        }
    }

    #[tokio::test]
    async fn a_file_has_one_url_and_a_folder_one_for_each_of_its_files() {
        let storage = ArtifactStorage::memory();
        let area = storage.area(&key(1));
        let name = |name: &str| ArtifactName::new(name).unwrap();
        for file in ["one.csv", "many/b.csv", "many/a/é 1.csv", "many2/c.csv"] {
            let location = area.location(&name(file));
            storage.store().put(&location, "x".into()).await.unwrap();
        }
        let hour = Lifetime::from_seconds(3600).unwrap();
        let uri = area.uri(&name("one.csv"));
        let unsupported = storage.presign(&uri, hour).await;
        assert!(matches!(unsupported, Err(PresignError::Unsupported)));

        let storage = storage.with_presigner(Arc::new(Plain));
        let urls = async |uri: String| {
            let urls = storage.presign(&uri, hour).await.unwrap();
            let shown = |(below, url): (String, PresignedUrl)| (below, url.expose().to_owned());
            urls.into_iter().map(shown).collect::<Vec<_>>()
        };
        let at = |file: &str| format!("{}?3600", area.location(&name(file)));
        assert_eq!(urls(uri).await, [(String::new(), at("one.csv"))]);
        assert_eq!(
            urls(area.uri(&name("many"))).await,
            [
                ("a/é 1.csv".into(), at("many/a/é 1.csv")),
                ("b.csv".into(), at("many/b.csv"))
            ]
        );
        for (uri, wanted) in [
            (area.uri(&name("none")), "is not there any more"),
            ("s3://elsewhere/x".into(), "is not in this storage"),
            ("memory:///../../x".into(), "is not in this storage"),
        ] {
            let refused = storage.presign(&uri, hour).await.unwrap_err().to_string();
            assert!(refused.contains(wanted), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_job_is_removed_with_all_that_it_left_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        for storage in [
            ArtifactStorage::memory(),
            ArtifactStorage::folder(folder.path()).unwrap(),
        ] {
            let other = AttemptKey {
                job: JobId(uuid::Uuid::max()),
                ..key(1)
            };
            let name = ArtifactName::new("a/b.csv").unwrap();
            let at = [key(1), key(2), other].map(|key| storage.area(&key).location(&name));
            for location in &at {
                storage.store().put(location, "x".into()).await.unwrap();
            }
            for _ in 0..2 {
                storage.remove_job(key(1).job).await.unwrap();
                for (location, is_there) in at.iter().zip([false, false, true]) {
                    assert_eq!(storage.store().head(location).await.is_ok(), is_there);
                }
            }
        }
        let left = std::fs::read_dir(folder.path().join("jobs")).unwrap();
        assert_eq!(left.count(), 1, "no empty folder is left");
    }

    #[test]
    fn a_folder_storage_knows_its_paths() {
        let folder = tempfile::tempdir().unwrap();
        let storage = ArtifactStorage::folder(folder.path().join("data")).unwrap();
        let name = ArtifactName::new("raw.csv").unwrap();
        let path = storage.area(&key(1)).local_path(&name).unwrap();
        assert!(path.ends_with("jobs/00000000-0000-0000-0000-000000000000/3.7/1/raw.csv"));
        assert_eq!(
            storage.area(&key(1)).uri(&name),
            format!("file://{}", path.display())
        );
    }
}
