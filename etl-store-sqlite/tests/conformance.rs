//! The embedded store does what every store has to do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use etl_core::contract::store::{Accounts, ServerStore};
use etl_core::contract::{Clock, Store};
use etl_core::testing::{AccountsFixture, AuditFixture, Facts, Spoil, StoreFixture};
use etl_store_sqlite::SqliteStore;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

/// Databases in folders of their own. The handles are kept, because only they can be closed.
#[derive(Default)]
struct Files(Mutex<Vec<(Arc<SqliteStore>, tempfile::TempDir)>>);

impl Files {
    async fn open(&self, folder: tempfile::TempDir, clock: Arc<dyn Clock>) -> Arc<SqliteStore> {
        let store = SqliteStore::open(folder.path().join("etl.db"), clock).await;
        let store = Arc::new(store.unwrap());
        self.0.lock().unwrap().push((store.clone(), folder));
        store
    }
}

#[async_trait]
impl StoreFixture for Files {
    async fn fresh(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        self.open(tempfile::tempdir().unwrap(), clock).await
    }

    async fn reopen(&self, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        let (closed, folder) = {
            let mut files = self.0.lock().unwrap();
            let same =
                |file: &Arc<SqliteStore>| std::ptr::addr_eq(Arc::as_ptr(file), Arc::as_ptr(&store));
            let place = files.iter().position(|(file, _)| same(file)).unwrap();
            files.swap_remove(place)
        };
        drop(store);
        closed.close().await;
        self.open(folder, clock).await
    }

    async fn spoil(&self, store: &Arc<dyn Store>, what: Spoil) -> bool {
        let path = {
            let files = self.0.lock().unwrap();
            let same =
                |file: &Arc<SqliteStore>| std::ptr::addr_eq(Arc::as_ptr(file), Arc::as_ptr(store));
            let file = files.iter().find(|(file, _)| same(file));
            file.unwrap().1.path().join("etl.db")
        };
        let options = SqliteConnectOptions::new().filename(path);
        let mut conn = options.connect().await.unwrap();
        let written = match what {
            Spoil::Document(id) => {
                let sql = "UPDATE pipelines SET config = '{}' WHERE id = ?1";
                sqlx::query(sql).bind(id.to_string())
            }
            Spoil::Mended(id) => {
                let sql = "UPDATE pipelines SET config =
                    (SELECT document FROM pipeline_versions v WHERE v.pipeline_id = id AND v.version = pipelines.version)
                    WHERE id = ?1";
                sqlx::query(sql).bind(id.to_string())
            }
            Spoil::Hook(job, position) => {
                let sql = "UPDATE job_hooks SET target = '{}' WHERE job_id = ?1 AND position = ?2";
                sqlx::query(sql).bind(job.to_string()).bind(position)
            }
        };
        let written = written.execute(&mut conn).await.unwrap();
        written.rows_affected() == 1
    }

    fn facts(&self) -> Facts {
        Facts {
            restart_ends_leases: true,
            ..Facts::default()
        }
    }
}

#[async_trait]
impl AccountsFixture for Files {
    async fn fresh_accounts(&self, clock: Arc<dyn Clock>) -> Arc<dyn Accounts> {
        self.open(tempfile::tempdir().unwrap(), clock).await
    }
}

#[async_trait]
impl AuditFixture for Files {
    async fn fresh_audit(&self, clock: Arc<dyn Clock>) -> Arc<dyn ServerStore> {
        self.open(tempfile::tempdir().unwrap(), clock).await
    }
}

etl_core::accounts_conformance!(Files::default());
etl_core::audit_conformance!(Files::default());
etl_core::store_conformance!(Files::default());
etl_core::store_history!(Files::default());
