//! Pipelines and their versions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use async_trait::async_trait;
use uuid::{NoContext, Uuid};

use super::{MemoryStore, State, page_limit};
use crate::contract::store::{
    Catalog, PipelineFilter, PutPipeline, Result, StoreError, StoreErrorKind, StoredPipeline,
    audited,
};
use crate::model::{Cursor, Page, PageRequest, PipelineId, PipelineRef, Timestamp};

#[derive(Default)]
pub(super) struct Pipelines {
    /// By namespace and name.
    by_name: BTreeMap<(String, String), Entry>,
    by_id: HashMap<PipelineId, (String, String)>,
}

struct Entry {
    removed: bool,
    /// Version n at n - 1; never empty.
    versions: Vec<StoredPipeline>,
}

impl Entry {
    fn current(&self) -> Option<&StoredPipeline> {
        self.versions.last().filter(|_| !self.removed)
    }

    fn version(&self, version: u64) -> Option<&StoredPipeline> {
        self.versions.get(version.checked_sub(1)? as usize)
    }
}

impl Pipelines {
    pub(super) fn version(&self, id: PipelineId, version: u64) -> Option<&StoredPipeline> {
        self.by_name.get(self.by_id.get(&id)?)?.version(version)
    }

    pub(super) fn current(&self, namespace: &str, name: &str) -> Option<&StoredPipeline> {
        let key = (namespace.to_owned(), name.to_owned());
        self.by_name.get(&key)?.current()
    }

    /// Current versions by namespace and name.
    pub(super) fn current_after(
        &self,
        after: Bound<(String, String)>,
    ) -> impl Iterator<Item = &StoredPipeline> {
        let entries = self.by_name.range((after, Bound::Unbounded));
        entries.filter_map(|(_, entry)| entry.current())
    }

    /// The current version of a pipeline.
    pub(super) fn current_of(&self, id: PipelineId) -> Option<&StoredPipeline> {
        self.by_name.get(self.by_id.get(&id)?)?.current()
    }

    fn put(&mut self, put: PutPipeline, now: Timestamp) -> Result<PipelineRef> {
        let key = (put.document.namespace.clone(), put.document.name.clone());
        let entry = self.by_name.get(&key);
        let current = entry.and_then(Entry::current);
        let version = current.map_or(0, |stored| stored.reference.version);
        if put.expected_version.is_some_and(|seen| seen != version) {
            return Err(StoreError::new("put_pipeline", StoreErrorKind::Stale));
        }
        if let Some(stored) = current.filter(|stored| stored.document == put.document) {
            return Ok(stored.reference.clone());
        }
        let last = entry.and_then(|entry| entry.versions.last());
        let (reference, created_at) = match last {
            Some(last) => (
                PipelineRef {
                    version: last.reference.version + 1,
                    ..last.reference.clone()
                },
                last.created_at,
            ),
            None => (
                PipelineRef {
                    id: new_id(now),
                    namespace: key.0.as_str().into(),
                    name: key.1.as_str().into(),
                    version: 1,
                },
                now,
            ),
        };
        self.by_id.insert(reference.id, key.clone());
        let entry = self.by_name.entry(key).or_insert_with(|| Entry {
            removed: false,
            versions: Vec::new(),
        });
        entry.removed = false;
        entry.versions.push(StoredPipeline {
            reference: reference.clone(),
            document: put.document,
            created_by: put.by,
            created_at,
            updated_at: now,
        });
        Ok(reference)
    }
}

fn new_id(now: Timestamp) -> PipelineId {
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    let nanos = (micros % 1_000_000) as u32 * 1000;
    let time = uuid::Timestamp::from_unix(NoContext, micros / 1_000_000, nanos);
    PipelineId(Uuid::new_v7(time))
}

impl State {
    fn put_pipeline(&mut self, put: PutPipeline, now: Timestamp) -> Result<PipelineRef> {
        let (namespace, name) = (put.document.namespace.clone(), put.document.name.clone());
        let before = self.pipelines.current(&namespace, &name).cloned();
        let reference = self.pipelines.put(put, now)?;
        let is_new = before
            .as_ref()
            .is_none_or(|before| before.reference != reference);
        if is_new && let Some(after) = self.pipelines.current(&namespace, &name).cloned() {
            self.schedules.follow(before.as_ref(), &after, now);
        }
        Ok(reference)
    }
}

#[async_trait]
impl Catalog for MemoryStore {
    async fn put_pipeline(&self, put: PutPipeline) -> Result<PipelineRef> {
        self.change(put, State::put_pipeline)
    }

    async fn pipeline(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u64>,
    ) -> Result<Option<StoredPipeline>> {
        let (state, _) = self.lock();
        let key = (namespace.to_owned(), name.to_owned());
        let entry = state.pipelines.by_name.get(&key);
        let found = entry.and_then(|entry| match version {
            Some(version) => entry.version(version),
            None => entry.current(),
        });
        Ok(found.cloned())
    }

    async fn pipeline_version(
        &self,
        id: PipelineId,
        version: u64,
    ) -> Result<Option<StoredPipeline>> {
        let (state, _) = self.lock();
        Ok(state.pipelines.version(id, version).cloned())
    }

    async fn pipeline_by_id(&self, id: PipelineId) -> Result<Option<StoredPipeline>> {
        let (state, _) = self.lock();
        Ok(state.pipelines.current_of(id).cloned())
    }

    async fn pipelines(
        &self,
        filter: &PipelineFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredPipeline>> {
        let (state, _) = self.lock();
        let after = match &page.cursor {
            None => Bound::Unbounded,
            Some(cursor) => {
                let (namespace, name) = cursor
                    .0
                    .split_once('/')
                    .ok_or_else(|| StoreError::new("pipelines", StoreErrorKind::NotFound))?;
                Bound::Excluded((namespace.to_owned(), name.to_owned()))
            }
        };
        let limit = page_limit(page);
        let mut items: Vec<StoredPipeline> = state
            .pipelines
            .current_after(after)
            .filter(|stored| fits(filter, stored))
            .take(limit + 1)
            .cloned()
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(|last| {
            let PipelineRef {
                namespace, name, ..
            } = &last.reference;
            Cursor(format!("{namespace}/{name}"))
        });
        Ok(Page { items, next_cursor })
    }

    async fn remove_pipeline(&self, namespace: &str, name: &str) -> Result<bool> {
        let (mut state, now) = self.lock();
        let key = (namespace.to_owned(), name.to_owned());
        let Some(entry) = state.pipelines.by_name.get_mut(&key) else {
            return Ok(false);
        };
        let was_there = !std::mem::replace(&mut entry.removed, true);
        let id = entry.versions.last().map(|last| last.reference.id);
        if let Some(id) = id.filter(|_| was_there) {
            state.schedules.take_away(id);
        }
        let entry = || was_there.then(|| audited::pipeline_removed(namespace, name));
        state.note(entry, now);
        Ok(was_there)
    }
}

fn fits(filter: &PipelineFilter, stored: &StoredPipeline) -> bool {
    let document = &stored.document;
    let namespace = filter.namespace.as_ref();
    let tag = filter.tag.as_ref();
    namespace.is_none_or(|wanted| document.namespace == *wanted)
        && tag.is_none_or(|wanted| document.tags.contains(wanted))
}
