//! Figures.

use async_trait::async_trait;

use super::MemoryStore;
use crate::contract::store::{Figures, Result};

#[async_trait]
impl Figures for MemoryStore {
    async fn backlog(&self, most: u64) -> Result<u64> {
        let (state, _) = self.lock();
        let open: usize = state
            .open
            .values()
            .map(std::collections::BTreeSet::len)
            .sum();
        // Whoever runs has a lease, and nobody else.
        let waiting = open - state.leases.len();
        Ok(most.min(waiting as u64))
    }
}
