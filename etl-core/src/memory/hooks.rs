//! Hooks that wait.

use async_trait::async_trait;

use super::{MemoryStore, State};
use crate::contract::store::{
    HookStore, Result, SettledHook, StoreError, StoreErrorKind, WaitingHook,
};
use crate::model::{HookRow, HookTarget, JobId, Timestamp};

impl State {
    /// A job has left a hook.
    pub(super) fn hook_waits(&mut self, job: JobId, hook: &HookRow, at: Timestamp) {
        if let Some(row) = self.jobs.get_mut(&job) {
            row.open_hooks.insert(hook.position);
        }
        if matches!(hook.target, HookTarget::TriggerPipeline { .. }) {
            self.hooks_waiting.insert((at, job, hook.position));
        }
    }
}

#[async_trait]
impl HookStore for MemoryStore {
    async fn waiting_hooks(&self, limit: usize) -> Result<Vec<WaitingHook>> {
        let (state, _) = self.lock();
        let waiting = state.hooks_waiting.iter().take(limit);
        let hooks = waiting.filter_map(|(_, job, position)| {
            Some(WaitingHook {
                job: *job,
                hook: state.jobs.get(job)?.hooks.get(position)?.clone(),
            })
        });
        Ok(hooks.collect())
    }

    async fn settle_hook(&self, settled: SettledHook) -> Result<()> {
        let (mut state, _) = self.lock();
        let job = state.jobs.get_mut(&settled.job);
        let Some(job) = job.filter(|job| job.hooks.contains_key(&settled.position)) else {
            return Err(StoreError::new("settle_hook", StoreErrorKind::NotFound));
        };
        job.open_hooks.remove(&settled.position);
        state
            .hooks_waiting
            .retain(|(_, job, position)| (*job, *position) != (settled.job, settled.position));
        Ok(())
    }
}
