//! The catalog: pipelines and their versions.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::error::Result;
use crate::model::{By, Page, PageRequest, Pipeline, PipelineId, PipelineRef, Timestamp};

/// Keeps pipelines. A version never changes; changing a pipeline makes a new one.
///
/// # Contract
/// Between the store and whoever edits pipelines or accepts jobs. Conformance: `etl_core::store_conformance!`.
///
/// Versions count from 1 without gaps and MUST NOT be given twice, also when many write at once.
#[async_trait]
pub trait Catalog: Send + Sync + Debug + 'static {
    /// Stores a pipeline under its namespace and name. The same document as the current version makes no new version.
    /// A pipeline that was removed is back under its old id, with the next version even if the document is the same.
    ///
    /// # Errors
    /// `Stale` if `expected_version` is given and is not the current one (0: must not be there; a removed one is not).
    async fn put_pipeline(&self, put: PutPipeline) -> Result<PipelineRef>;

    /// One version, or the current one. `None` if there is none. Versions of a removed pipeline are found, but none of them
    /// is current.
    async fn pipeline(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u64>,
    ) -> Result<Option<StoredPipeline>>;

    /// One version by id, also of a removed pipeline. `None` if there is none.
    async fn pipeline_version(
        &self,
        id: PipelineId,
        version: u64,
    ) -> Result<Option<StoredPipeline>>;

    /// The current version by id. `None` if there is none, or the pipeline was removed.
    async fn pipeline_by_id(&self, id: PipelineId) -> Result<Option<StoredPipeline>>;

    /// The current versions, by namespace and name (as bytes). Pages as in [`Journal`](super::Journal).
    async fn pipelines(
        &self,
        filter: &PipelineFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredPipeline>>;

    /// Takes a pipeline out of the list; its versions stay for the jobs that are pinned to them. Whether there was one.
    async fn remove_pipeline(&self, namespace: &str, name: &str) -> Result<bool>;
}

/// A pipeline to store.
#[derive(Debug, Clone)]
pub struct PutPipeline {
    /// The document, valid.
    pub document: Arc<Pipeline>,
    /// The version that the writer has seen; `None` to write whatever is there.
    pub expected_version: Option<u64>,
    /// Who writes.
    pub by: By,
}

/// One version of a pipeline as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPipeline {
    /// Its identity.
    pub reference: PipelineRef,
    /// The document.
    pub document: Arc<Pipeline>,
    /// Who wrote the version.
    pub created_by: By,
    /// When the pipeline was first stored.
    pub created_at: Timestamp,
    /// When this version was.
    pub updated_at: Timestamp,
}

/// Which pipelines a list is about. Empty fields don't restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PipelineFilter {
    /// Of this namespace.
    pub namespace: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
}
