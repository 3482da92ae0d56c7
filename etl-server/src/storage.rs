//! Where artifacts go, by URL: a folder, or a bucket of an S3 service.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::Method;
use etl_core::artifact::{ArtifactStorage, Lifetime, PresignedUrl, Presigner};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use crate::deployment::unreachable;
use crate::failure::Failure;

/// What a storage URL names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl Place {
    /// `file://PATH` or `s3://BUCKET/PREFIX`; nothing for anything else.
    pub(crate) fn of(url: &str) -> Option<Self> {
        if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            // Names of buckets have no other characters; keys in a URL would end up in artifacts' URIs.
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            return (!bucket.is_empty() && bucket.chars().all(is_name)).then(|| Self::Bucket {
                bucket: bucket.into(),
                prefix: prefix.trim_matches('/').into(),
            });
        }
        let rest = url.strip_prefix("file:")?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        (!path.is_empty()).then(|| Self::Folder(path.into()))
    }
}

/// Opens the storage at a URL. Endpoint, region and keys of S3 come from the usual `AWS_…` variables; an endpoint by plain HTTP
/// is only taken with `AWS_ALLOW_HTTP=true`.
pub(crate) fn open(url: &str) -> Result<ArtifactStorage, Failure> {
    match Place::of(url) {
        Some(Place::Folder(folder)) => {
            ArtifactStorage::folder(folder).map_err(|error| {
                unreachable("artifacts can't be stored").because(error).hint(
                "see that the folder can be written to, or name another one by `--storage-url`",
            )
            })
        }
        Some(Place::Bucket { bucket, prefix }) => {
            if is_plain_http() && !allows_http() {
                return Err(Failure::input(
                    "the S3 endpoint is plain HTTP, so that keys and data could be read on the way",
                )
                .hint("use https://, or set AWS_ALLOW_HTTP=true if the network is your own"));
            }
            // Requests are repeated for a while, so that a short outage is no failed attempt of a step.
            let retry = RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 10,
                retry_timeout: std::time::Duration::from_mins(1),
            };
            let store = AmazonS3Builder::from_env()
                .with_bucket_name(&bucket)
                .with_retry(retry)
                .with_client_options(ClientOptions::new().with_allow_http(allows_http()))
                .build()
                .map_err(|error| {
                    unreachable("the S3 storage can't be used")
                        .because(error)
                        .hint("see AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
                })?;
            let base = url.trim_end_matches('/').to_owned();
            let presigner = Arc::new(S3Presigner(store.clone()));
            let storage = ArtifactStorage::object_store(Arc::new(store), Path::from(prefix), base);
            Ok(storage.with_presigner(presigner))
        }
        None => Err(Failure::input(
            "storage_url is not of the form file://PATH or s3://BUCKET/PREFIX",
        )
        .hint("use file://.etl/data, say")),
    }
}

/// Signs with the keys that the storage is used with.
#[derive(Debug)]
struct S3Presigner(AmazonS3);

#[async_trait]
impl Presigner for S3Presigner {
    async fn presign_get(
        &self,
        location: &Path,
        lifetime: Lifetime,
    ) -> object_store::Result<PresignedUrl> {
        let url = self
            .0
            .signed_url(Method::GET, location, lifetime.as_duration())
            .await?;
        Ok(PresignedUrl::new(url))
    }
}

fn is_plain_http() -> bool {
    ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|url| url.starts_with("http://")))
}

fn allows_http() -> bool {
    std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_folder_or_a_bucket() {
        let folder = |path: &str| Some(Place::Folder(path.into()));
        assert_eq!(Place::of("file://.etl/data"), folder(".etl/data"));
        assert_eq!(Place::of("file:/srv/etl"), folder("/srv/etl"));
        assert_eq!(
            Place::of("s3://lake/etl/prod/"),
            Some(Place::Bucket {
                bucket: "lake".into(),
                prefix: "etl/prod".into()
            })
        );
        for bad in ["s3://", "s3://key:secret@lake", "file://", "gs://b", "lake"] {
            assert_eq!(Place::of(bad), None, "{bad}");
        }
    }
}
