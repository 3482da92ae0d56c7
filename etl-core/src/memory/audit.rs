//! The audit log.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{MemoryStore, State, page_limit};
use crate::contract::actor;
use crate::contract::store::{AuditLog, Audited, Result, SealAudit, StoreError, StoreErrorKind};
use crate::model::{
    Actor, AuditEntry, AuditFilter, AuditRecord, Cursor, Page, PageRequest, Seal, SealedRecord,
    Timestamp,
};

/// Rows, and their places in the chain.
#[derive(Debug, Default)]
pub(super) struct AuditRows {
    /// A row's number is its index + 1.
    rows: Vec<AuditRecord>,
    /// The chain: rows by index, with their MACs. A place is an index + 1.
    chain: Vec<(usize, [u8; 32])>,
    /// Those that are not part of it, by index.
    open: BTreeSet<usize>,
}

impl AuditRows {
    fn push(&mut self, actor: &Actor, entry: AuditEntry, now: Timestamp) {
        let index = self.rows.len();
        let record = AuditRecord::new(index as u64 + 1, now, actor, entry);
        self.rows.push(record);
        self.open.insert(index);
    }

    fn seal(&mut self, seal: &SealAudit) -> bool {
        let index = |id: u64| usize::try_from(id).ok()?.checked_sub(1);
        let rows: Option<Vec<_>> = seal
            .rows
            .iter()
            .map(|(id, mac)| {
                let index = index(*id).filter(|index| self.open.contains(index))?;
                Some((index, *mac))
            })
            .collect();
        let Some(rows) = rows.filter(|_| seal.after == self.chain.len() as u64) else {
            return false;
        };
        for (index, _) in &rows {
            self.open.remove(index);
        }
        self.chain.extend(rows);
        true
    }
}

impl State {
    /// Notes what somebody did.
    pub(super) fn note(&mut self, entry: impl FnOnce() -> Option<AuditEntry>, now: Timestamp) {
        if let Some(actor) = actor()
            && let Some(entry) = entry()
        {
            self.audit.push(&actor, entry, now);
        }
    }
}

impl MemoryStore {
    /// Makes a change, and notes it.
    pub(super) fn change<R: Audited<O> + Clone, O>(
        &self,
        request: R,
        change: impl FnOnce(&mut State, R, Timestamp) -> Result<O>,
    ) -> Result<O> {
        let asked = actor().map(|_| request.clone());
        let (mut state, now) = self.lock();
        let outcome = change(&mut state, request, now)?;
        state.note(|| asked?.entry(&outcome), now);
        Ok(outcome)
    }
}

#[async_trait]
impl AuditLog for MemoryStore {
    async fn note(&self, actor: &Actor, entry: AuditEntry) -> Result<()> {
        let (mut state, now) = self.lock();
        state.audit.push(actor, entry, now);
        Ok(())
    }

    async fn audit(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditRecord>> {
        let (state, _) = self.lock();
        let rows = &state.audit.rows;
        let end = match &page.cursor {
            None => rows.len(),
            Some(cursor) => cursor
                .0
                .parse::<usize>()
                .ok()
                .and_then(|id| id.checked_sub(1))
                .ok_or_else(|| StoreError::new("audit", StoreErrorKind::NotFound))?
                .min(rows.len()),
        };
        let limit = page_limit(page);
        let newest_first = rows[..end].iter().rev();
        let fitting = newest_first.filter(|row| fits(filter, row));
        let mut items: Vec<_> = fitting.take(limit + 1).cloned().collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more);
        let next_cursor = last.map(|last| Cursor(last.id.to_string()));
        Ok(Page { items, next_cursor })
    }

    async fn unsealed(&self, limit: usize) -> Result<Vec<AuditRecord>> {
        let (state, _) = self.lock();
        let AuditRows { rows, open, .. } = &state.audit;
        let open = open.iter().take(limit);
        Ok(open.map(|index| rows[*index].clone()).collect())
    }

    async fn head(&self) -> Result<Option<Seal>> {
        let (state, _) = self.lock();
        let chain = &state.audit.chain;
        Ok(chain.last().map(|(_, mac)| Seal {
            seq: chain.len() as u64,
            mac: *mac,
        }))
    }

    async fn seal(&self, seal: SealAudit) -> Result<bool> {
        let (mut state, _) = self.lock();
        Ok(state.audit.seal(&seal))
    }

    async fn sealed(&self, after: u64, limit: usize) -> Result<Vec<SealedRecord>> {
        let (state, _) = self.lock();
        let AuditRows { rows, chain, .. } = &state.audit;
        let after = usize::try_from(after)
            .unwrap_or(usize::MAX)
            .min(chain.len());
        let places = chain.iter().enumerate().skip(after).take(limit);
        let sealed = places.map(|(place, (index, mac))| SealedRecord {
            record: rows[*index].clone(),
            seal: Seal {
                seq: place as u64 + 1,
                mac: *mac,
            },
        });
        Ok(sealed.collect())
    }
}

fn fits(filter: &AuditFilter, row: &AuditRecord) -> bool {
    let is = |wanted: &Option<String>, found: Option<&String>| {
        wanted.as_ref().is_none_or(|wanted| found == Some(wanted))
    };
    filter.user_id.is_none_or(|user| row.user_id == Some(user))
        && is(&filter.action, Some(&row.action))
        && is(&filter.resource_type, row.resource_type.as_ref())
        && is(&filter.resource_id, row.resource_id.as_ref())
        && filter.from.is_none_or(|from| from <= row.timestamp)
        && filter.to.is_none_or(|to| row.timestamp < to)
}
