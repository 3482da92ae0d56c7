//! The store on PostgreSQL does what every store has to do: by the database's own clock, and by one that tests move.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod place;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use etl_core::contract::{Clock, Store};
use etl_core::testing::{Facts, StoreFixture};
use etl_store_postgres::{Options, PostgresStore};

use place::Place;

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

    async fn open(&self, place: Place, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        let options = Options {
            schema: Some(place.schema().into()),
            clock: self.follows_clock.then_some(clock),
            log_days: None,
        };
        let store = PostgresStore::open(place.url(), options).await;
        let store = Arc::new(store.unwrap());
        self.open.lock().unwrap().push((store.clone(), place));
        store
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

    fn facts(&self) -> Facts {
        Facts {
            follows_clock: self.follows_clock,
            ..Facts::default()
        }
    }
}

mod by_its_own_clock {
    use super::Schemas;
    etl_core::store_conformance!(Schemas::by_its_own_clock());
}

mod by_the_tests_clock {
    use super::Schemas;
    etl_core::store_conformance!(Schemas::by_the_tests_clock());
    etl_core::store_history!(Schemas::by_the_tests_clock());
}
