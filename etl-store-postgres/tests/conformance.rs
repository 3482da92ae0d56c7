//! The store on PostgreSQL does what every store has to do: by the database's own clock, and by one that tests move.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use etl_core::contract::store::{Accounts, ServerStore};
use etl_core::contract::{Clock, Store};
use etl_core::testing::{AccountsFixture, AuditFixture, Facts, Spoil, StoreFixture};
use etl_store_postgres::{Options, PostgresStore};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use place::Place;

/// The stores that a test may have open at once.
const MOST_OPEN: usize = 16;

/// Stores in schemas of their own. The handles are kept, because only they can be closed.
struct Schemas {
    follows_clock: bool,
    open: Mutex<Vec<(Arc<PostgresStore>, Place)>>,
}

impl Schemas {
    fn by_its_own_clock() -> Self {
        Self {
            follows_clock: false,
            open: Mutex::default(),
        }
    }

    fn by_the_tests_clock() -> Self {
        Self {
            follows_clock: true,
            open: Mutex::default(),
        }
    }

    async fn open(&self, place: Place, clock: Arc<dyn Clock>) -> Arc<PostgresStore> {
        let options = Options {
            schema: Some(place.schema().into()),
            clock: self.follows_clock.then_some(clock),
            log_days: None,
        };
        self.close_oldest().await;
        let store = PostgresStore::open(place.url(), options).await;
        let store = Arc::new(store.unwrap());
        self.open.lock().unwrap().push((store.clone(), place));
        store
    }
}

impl Schemas {
    /// Histories open store after store, and those that fail are played again and again: the server has an end of connections.
    async fn close_oldest(&self) {
        let oldest = {
            let mut open = self.open.lock().unwrap();
            (open.len() >= MOST_OPEN).then(|| open.remove(0))
        };
        if let Some((store, _place)) = oldest {
            store.close().await;
        }
    }
}

#[async_trait]
impl StoreFixture for Schemas {
    async fn fresh(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        self.open(Place::new(), clock).await
    }

    async fn reopen(&self, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        let (closed, place) = {
            let mut open = self.open.lock().unwrap();
            let same =
                |of: &Arc<PostgresStore>| std::ptr::addr_eq(Arc::as_ptr(of), Arc::as_ptr(&store));
            let at = open.iter().position(|(of, _)| same(of)).unwrap();
            open.swap_remove(at)
        };
        drop(store);
        closed.close().await;
        self.open(place, clock).await
    }

    async fn spoil(&self, store: &Arc<dyn Store>, what: Spoil) -> bool {
        let (url, schema) = {
            let open = self.open.lock().unwrap();
            let same =
                |of: &Arc<PostgresStore>| std::ptr::addr_eq(Arc::as_ptr(of), Arc::as_ptr(store));
            let place = &open.iter().find(|(of, _)| same(of)).unwrap().1;
            (place.url().to_owned(), place.schema().to_owned())
        };
        let options: PgConnectOptions = url.parse().unwrap();
        let options = options.options([("search_path", schema)]);
        let mut conn = options.connect().await.unwrap();
        let written = match what {
            Spoil::Document(id) => {
                let sql = "UPDATE pipelines SET config = '{}' WHERE id = $1::uuid";
                sqlx::query(sql).bind(id.to_string())
            }
            Spoil::Mended(id) => {
                let sql = "UPDATE pipelines p SET config = v.document FROM pipeline_versions v
                    WHERE v.pipeline_id = p.id AND v.version = p.version AND p.id = $1::uuid";
                sqlx::query(sql).bind(id.to_string())
            }
            Spoil::Hook(job, position) => {
                let sql =
                    "UPDATE job_hooks SET target = '{}' WHERE job_id = $1::uuid AND position = $2";
                sqlx::query(sql)
                    .bind(job.to_string())
                    .bind(i32::try_from(position).unwrap())
            }
        };
        let written = written.execute(&mut conn).await.unwrap();
        written.rows_affected() == 1
    }

    fn facts(&self) -> Facts {
        Facts {
            follows_clock: self.follows_clock,
            ..Facts::default()
        }
    }
}

#[async_trait]
impl AccountsFixture for Schemas {
    async fn fresh_accounts(&self, clock: Arc<dyn Clock>) -> Arc<dyn Accounts> {
        self.open(Place::new(), clock).await
    }
}

#[async_trait]
impl AuditFixture for Schemas {
    async fn fresh_audit(&self, clock: Arc<dyn Clock>) -> Arc<dyn ServerStore> {
        self.open(Place::new(), clock).await
    }
}

etl_core::accounts_conformance!(Schemas::by_the_tests_clock());
etl_core::audit_conformance!(Schemas::by_the_tests_clock());

mod by_its_own_clock {
    use super::Schemas;
    etl_core::store_conformance!(Schemas::by_its_own_clock());
}

mod by_the_tests_clock {
    use super::Schemas;
    etl_core::store_conformance!(Schemas::by_the_tests_clock());
    etl_core::store_history!(Schemas::by_the_tests_clock());
}
