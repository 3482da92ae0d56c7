//! The threads that compute a step's queries.

use etl_core::model::StepError;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Threads of a query engine, apart from those that everything else runs on: a query computes without a pause, and meanwhile no
/// lease would be kept and no cancellation heard. Dropping them stops what they compute.
#[derive(Debug)]
pub(super) struct Threads {
    runtime: Option<Runtime>,
    handle: Handle,
    _stop: DropGuard,
}

impl Threads {
    /// So many threads, whose queries stop by `stop`.
    pub(super) fn new(count: usize, stop: CancellationToken) -> Result<Self, StepError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(|error| {
                StepError::transient("the threads of a query can't be started").because(error)
            })?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            _stop: stop.drop_guard(),
        })
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for them is not allowed where this is dropped.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
