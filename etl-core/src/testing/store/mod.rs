//! The store suite. Each file is about one part of the protocol, each function is one law of the contract.

mod cancel;
mod catalog;
mod change;
mod claim;
mod commit;
mod credential;
mod event;
mod figures;
mod hook;
mod journal;
mod lease;
mod reap;
mod retention;
mod scene;
mod schedule;
mod submit;
mod unknown;
mod value;

use std::sync::Arc;

use async_trait::async_trait;

use super::case::{self, Case};
use crate::contract::{Clock, Store};
use crate::model::{JobId, PipelineId};

pub(super) use scene::all_steps;

/// Makes stores to try.
#[async_trait]
pub trait StoreFixture: Send + Sync {
    /// A new and empty store whose time is `clock`, beside any other that this fixture made.
    async fn fresh(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store>;

    /// The same store after its process has ended and begun again. Nobody else holds `store`. One that is only memory is
    /// given back as it is.
    async fn reopen(&self, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<dyn Store>;

    /// Makes a row of the store unreadable, as a newer version or a damaged disk does, or readable again. Answers whether that can
    /// be: a store may keep nothing that has to be read.
    async fn spoil(&self, store: &Arc<dyn Store>, what: Spoil) -> bool {
        let _ = (store, what);
        false
    }

    /// How the store differs from others where the contract leaves it free.
    fn facts(&self) -> Facts {
        Facts::default()
    }
}

/// What a fixture is to make unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// The current document of a pipeline.
    Document(PipelineId),
    /// The same, to be readable again.
    Mended(PipelineId),
    /// What the hook of a job at this position is to do.
    Hook(JobId, u32),
}

/// How a store differs from others where the contract leaves it free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether its time is the clock that it is made with. If it has a clock of its own, cases wait for it for real (at most
    /// a second each) and compare no times with the test's clock.
    pub follows_clock: bool,
    /// Whether opening the store again ends every lease, because only one process can have it open.
    pub restart_ends_leases: bool,
    /// How many tasks race for it where races are tried.
    pub racers: usize,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            follows_clock: true,
            restart_ends_leases: false,
            racers: 8,
        }
    }
}

const CASES: &[Case<dyn StoreFixture>] = crate::__store_cases! { (case::case_list) () };

/// The names of all cases.
pub fn cases() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Runs one case; it panics where the store breaks the law.
pub async fn run(name: &str, fixture: &(dyn StoreFixture + 'static)) {
    case::run(CASES, name, fixture).await;
}
