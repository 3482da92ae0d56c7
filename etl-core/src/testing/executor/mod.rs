//! The executor suite: each function is one law of the contract. The attempts are of the connector [`Probe`], which does what
//! its configuration says.

mod keep;
mod probe;
mod say;
mod stage;
mod stop;

use std::sync::Arc;

use async_trait::async_trait;

pub use probe::{Probe, ProbeConfig, ProbeCredential};

use super::case::{self, Case};
use crate::artifact::ArtifactStorage;
use crate::contract::Executor;
use crate::registry::Registry;

/// Makes executors to try.
#[async_trait]
pub trait ExecutorFixture: Send + Sync {
    /// An executor with nothing running. Its attempts find the connector `probe` in `registry`, or, where they run elsewhere,
    /// have one of their own made by [`Probe::default`].
    async fn fresh(&self, registry: Registry) -> Arc<dyn Executor>;

    /// Where its attempts can write.
    fn artifacts(&self) -> ArtifactStorage {
        ArtifactStorage::memory()
    }

    /// How the executor differs from others where the contract leaves it free.
    fn facts(&self) -> ExecutorFacts;
}

/// How an executor differs from others where the contract leaves it free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutorFacts {
    /// Whether attempts run in this process, so that what the test's connector counts is theirs.
    pub same_process: bool,
    /// Whether an attempt lives on when its `Run` is dropped. If not, there is nothing to attach to or to adopt.
    pub outlives_run: bool,
}

const CASES: &[Case<dyn ExecutorFixture>] = crate::__executor_cases! { (case::case_list) () };

/// The names of all cases.
pub fn cases() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Runs one case; it panics where the executor breaks the law.
pub async fn run(name: &str, fixture: &(dyn ExecutorFixture + 'static)) {
    case::run(CASES, name, fixture).await;
}
