//! Settling dead letters: the dialect. The rest is `etl_store_sql::dead_letters`.

use async_trait::async_trait;
use etl_core::contract::store::{LetterStore, Result as StoreResult, SettleLetter};
use etl_core::model::{LetterFilter, LetterRecord, Page, PageRequest};
use etl_store_sql::{DeadLettersSql, Fault, dead_letters};
use uuid::Uuid;

use crate::store::SqliteStore;

pub(crate) const SQL: DeadLettersSql = etl_store_sql::dead_letters_sql! {
    uuid: "",
    time: "",
    text: "",
    int: "",
    format: "",
    lock: "",
};

#[async_trait]
impl LetterStore for SqliteStore {
    async fn letters(
        &self,
        filter: &LetterFilter,
        page: &PageRequest,
    ) -> StoreResult<Page<LetterRecord>> {
        let found = dead_letters::list(&mut self.reading(), filter, page).await;
        found.map_err(|fault: Fault| fault.of("letters"))
    }

    async fn letter(&self, id: Uuid) -> StoreResult<Option<LetterRecord>> {
        let found = dead_letters::one(&mut self.reading(), id).await;
        found.map_err(|fault: Fault| fault.of("letter"))
    }

    async fn settle_letter(&self, settle: SettleLetter) -> StoreResult<bool> {
        self.ask_beside(settle).await
    }
}
