//! Sealed credentials, by namespace and name.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;

use super::{MemoryStore, page_limit};
use crate::contract::store::{
    CredentialStore, CredentialWrite, PutCredential, Reseal, Result, SealedCredential, StoreError,
    StoreErrorKind, audited,
};
use crate::model::{CredentialId, Cursor, Page, PageRequest, Timestamp};

/// The credentials of a store.
#[derive(Debug, Default)]
pub(super) struct Credentials(BTreeMap<(String, String), SealedCredential>);

impl Credentials {
    fn put(&mut self, put: PutCredential, now: Timestamp) -> CredentialWrite {
        let key = (put.namespace.clone(), put.name.clone());
        let before = self.0.get(&key);
        let is_known = before.is_some_and(|before| {
            (before.id, before.version) == (put.id, put.version) && before.sealed == put.sealed
        });
        if is_known {
            return CredentialWrite::Written;
        }
        let is_next = match before {
            Some(before) => before.id == put.id && before.version + 1 == put.version,
            None => put.version == 1 && self.0.values().all(|other| other.id != put.id),
        };
        if !is_next {
            return CredentialWrite::Stale;
        }
        let (created_by, created_at) = match before {
            Some(before) => (before.created_by.clone(), before.created_at),
            None => (put.by, now),
        };
        let stored = SealedCredential {
            id: put.id,
            namespace: put.namespace,
            name: put.name,
            connector_type: put.connector_type,
            version: put.version,
            key_id: put.key_id,
            sealed: put.sealed,
            created_by,
            created_at,
            updated_at: now,
        };
        self.0.insert(key, stored);
        CredentialWrite::Written
    }

    fn reseal(&mut self, reseal: Reseal) -> CredentialWrite {
        let Some(stored) = self.0.values_mut().find(|stored| stored.id == reseal.id) else {
            return CredentialWrite::Stale;
        };
        if stored.version == reseal.version && stored.sealed == reseal.sealed {
            return CredentialWrite::Written;
        }
        if stored.version + 1 != reseal.version {
            return CredentialWrite::Stale;
        }
        stored.version = reseal.version;
        stored.key_id = reseal.key_id;
        stored.sealed = reseal.sealed;
        CredentialWrite::Written
    }
}

#[async_trait]
impl CredentialStore for MemoryStore {
    async fn put_credential(&self, put: PutCredential) -> Result<CredentialWrite> {
        self.change(put, |state, put, now| Ok(state.credentials.put(put, now)))
    }

    async fn reseal_credential(&self, reseal: Reseal) -> Result<CredentialWrite> {
        let (mut state, _) = self.lock();
        Ok(state.credentials.reseal(reseal))
    }

    async fn remove_credential(&self, namespace: &str, name: &str) -> Result<bool> {
        let (mut state, now) = self.lock();
        let key = (namespace.to_owned(), name.to_owned());
        let was_there = state.credentials.0.remove(&key).is_some();
        let entry = || was_there.then(|| audited::credential_removed(namespace, name));
        state.note(entry, now);
        Ok(was_there)
    }

    async fn credential(&self, namespace: &str, name: &str) -> Result<Option<SealedCredential>> {
        let (state, _) = self.lock();
        let key = (namespace.to_owned(), name.to_owned());
        Ok(state.credentials.0.get(&key).cloned())
    }

    async fn credential_by_id(&self, id: CredentialId) -> Result<Option<SealedCredential>> {
        let (state, _) = self.lock();
        let mut all = state.credentials.0.values();
        Ok(all.find(|stored| stored.id == id).cloned())
    }

    async fn credentials(&self, page: &PageRequest) -> Result<Page<SealedCredential>> {
        let after = match &page.cursor {
            None => Bound::Unbounded,
            Some(cursor) => {
                let (namespace, name) = cursor
                    .0
                    .split_once('/')
                    .ok_or_else(|| StoreError::new("credentials", StoreErrorKind::NotFound))?;
                Bound::Excluded((namespace.to_owned(), name.to_owned()))
            }
        };
        let (state, _) = self.lock();
        let limit = page_limit(page);
        let rest = state.credentials.0.range((after, Bound::Unbounded));
        let mut items: Vec<_> = rest
            .map(|(_, stored)| stored.clone())
            .take(limit + 1)
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items
            .last()
            .filter(|_| more)
            .map(|last| Cursor(format!("{}/{}", last.namespace, last.name)));
        Ok(Page { items, next_cursor })
    }
}
