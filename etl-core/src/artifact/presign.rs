//! URLs by which whoever has them reads one object for a time, without credentials of their own.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use object_store::path::Path;

/// Signs URLs of one object store.
///
/// # Contract
/// Between [`ArtifactStorage`](super::ArtifactStorage) and an object store that can do it. A URL MUST let its holder read that one
/// object and nothing else, and MUST be refused once its lifetime is over. Whether the object is there need not be looked at.
#[async_trait]
pub trait Presigner: Send + Sync + fmt::Debug + 'static {
    /// A URL that answers a GET of the object.
    ///
    /// # Errors
    /// If the credentials to sign with can't be had.
    async fn presign_get(
        &self,
        location: &Path,
        lifetime: Lifetime,
    ) -> object_store::Result<PresignedUrl>;
}

/// How long a presigned URL is good for: from one second to seven days, which is as long as S3 signs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(Duration);

impl Lifetime {
    /// The shortest, in seconds.
    pub const SHORTEST_SECONDS: u64 = 1;
    /// The longest, in seconds.
    pub const LONGEST_SECONDS: u64 = 7 * 24 * 60 * 60;

    /// So many seconds; `None` if that is too short or too long.
    pub fn from_seconds(seconds: u64) -> Option<Self> {
        (Self::SHORTEST_SECONDS..=Self::LONGEST_SECONDS)
            .contains(&seconds)
            .then(|| Self(Duration::from_secs(seconds)))
    }

    /// As a duration: whole seconds.
    pub fn as_duration(self) -> Duration {
        self.0
    }
}

/// A presigned URL. Whoever has it can read the object, so that it is kept like a password: `Debug` does not show it, and it has
/// no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedUrl(String);

impl PresignedUrl {
    /// The URL of this text.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL, to hand it to the one who asked for it and to nobody else: no log, no error, no row.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresignedUrl(…)")
    }
}

/// Why there is no URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresignError {
    /// The storage is a folder or memory: it has no URLs that others could read.
    #[error("this storage can't give URLs; only an S3 storage can")]
    Unsupported,
    /// The artifact is in another storage than this one.
    #[error("{uri} is not in this storage; use the storage_url that it was written under")]
    Elsewhere {
        /// Where it is.
        uri: String,
    },
    /// Nothing is there.
    #[error("{uri} is not there any more")]
    Gone {
        /// Where it was.
        uri: String,
    },
    /// It has more files than URLs are given for at once.
    #[error("{uri} has more files than URLs are given for (10,000)")]
    TooMany {
        /// Where it is.
        uri: String,
    },
    /// The storage can't be asked, or can't sign.
    #[error("the storage can't be asked for URLs")]
    Storage(#[from] object_store::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_from_a_second_to_seven_days() {
        let seconds = |seconds| {
            let lifetime = Lifetime::from_seconds(seconds);
            lifetime.map(|lifetime| lifetime.as_duration().as_secs())
        };
        assert_eq!(seconds(0), None);
        assert_eq!(seconds(1), Some(1));
        assert_eq!(seconds(604_800), Some(604_800));
        assert_eq!(seconds(604_801), None);
        assert_eq!(seconds(u64::MAX), None);
    }

    #[test]
    fn a_url_is_not_in_its_debug_form() {
        let url = PresignedUrl::new("https://s3/bucket/key?X-Amz-Signature=c0ffee");
        assert_eq!(format!("{url:?}"), "PresignedUrl(…)");
        assert!(url.expose().ends_with("c0ffee"));
    }
}
