//! The audit log: the dialect. The rest is `etl_store_sql::audit`.

use async_trait::async_trait;
use etl_core::contract::store::{AuditLog, Result as StoreResult, SealAudit};
use etl_core::model::{
    Actor, AuditEntry, AuditFilter, AuditRecord, Page, PageRequest, Seal, SealedRecord,
};
use etl_store_sql::audit::{self, Note};
use etl_store_sql::{AuditSql, Fault};

use crate::store::SqliteStore;

pub(crate) const SQL: AuditSql = etl_store_sql::audit_sql! {
    uuid: "",
    time: "",
    json: "",
    text: "",
    format: "",
    lock: "",
};

#[async_trait]
impl AuditLog for SqliteStore {
    async fn note(&self, actor: &Actor, entry: AuditEntry) -> StoreResult<()> {
        let actor = actor.clone();
        self.ask_beside(Note { actor, entry }).await
    }

    async fn audit(
        &self,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> StoreResult<Page<AuditRecord>> {
        let found = audit::list(&mut self.reading(), filter, page).await;
        found.map_err(|fault: Fault| fault.of("audit"))
    }

    async fn unsealed(&self, limit: usize) -> StoreResult<Vec<AuditRecord>> {
        let found = audit::unsealed(&mut self.reading(), limit).await;
        found.map_err(|fault| fault.of("unsealed"))
    }

    async fn head(&self) -> StoreResult<Option<Seal>> {
        let found = audit::head(&mut self.reading()).await;
        found.map_err(|fault| fault.of("head"))
    }

    async fn seal(&self, seal: SealAudit) -> StoreResult<bool> {
        self.ask_beside(seal).await
    }

    async fn sealed(&self, after: u64, limit: usize) -> StoreResult<Vec<SealedRecord>> {
        let found = audit::sealed(&mut self.reading(), after, limit).await;
        found.map_err(|fault| fault.of("sealed"))
    }
}
