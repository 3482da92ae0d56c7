//! The audit suite. Each file is about one part of the contract, each function is one law of it.

mod changes;
mod letters;
mod rows;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;

use super::case::{self, Case};
use super::clock::ManualClock;
use crate::contract::store::ServerStore;
use crate::contract::{Clock, acting};
use crate::model::{Actor, AuditEntry, AuditFilter, AuditRecord, Page, PageRequest, UserId};

/// Makes stores whose audit log is to be tried.
#[async_trait]
pub trait AuditFixture: Send + Sync {
    /// A new and empty store whose time is `clock`, beside any other that this fixture made.
    async fn fresh_audit(&self, clock: Arc<dyn Clock>) -> Arc<dyn ServerStore>;
}

const CASES: &[Case<dyn AuditFixture>] = crate::__audit_cases! { (case::case_list) () };

/// The names of all cases.
pub fn cases() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Runs one case; it panics where the store breaks the law.
pub async fn run(name: &str, fixture: &(dyn AuditFixture + 'static)) {
    case::run(CASES, name, fixture).await;
}

struct Scene {
    store: Arc<dyn ServerStore>,
    clock: Arc<ManualClock>,
    actor: Arc<Actor>,
}

impl Scene {
    async fn on(fixture: &dyn AuditFixture) -> Self {
        let clock = Arc::new(ManualClock::default());
        Self {
            store: fixture.fresh_audit(clock.clone()).await,
            clock,
            actor: Arc::new(Actor {
                user_id: Some(UserId(Uuid::now_v7())),
                name: "ana@example.org".into(),
                ip_address: Some("192.0.2.7".into()),
                user_agent: Some("curl/8".into()),
                trace_id: Some("4bf92f3577b34da6".into()),
            }),
        }
    }

    /// Does this as the actor.
    async fn act<T>(&self, work: impl Future<Output = T>) -> T {
        acting(Arc::clone(&self.actor), work).await
    }

    async fn list(&self, filter: &AuditFilter, page: &PageRequest) -> Page<AuditRecord> {
        self.store.audit(filter, page).await.unwrap()
    }

    async fn all(&self) -> Page<AuditRecord> {
        self.list(&AuditFilter::default(), &PageRequest::first(500))
            .await
    }

    /// The actions of all rows, the oldest first.
    async fn actions(&self) -> Vec<String> {
        let all = self.all().await;
        let newest_first = all.items.into_iter().rev();
        newest_first.map(|row| row.action).collect()
    }

    async fn note(&self, action: &'static str, resource: &str) {
        let entry = AuditEntry::new(action, "user", resource).to(json!({ "a": [1, "é"] }));
        self.store.note(&self.actor, entry).await.unwrap();
    }
}
