//! Plans at hand: a pipeline version is compiled once and shared by all its jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Fault, Pipeline, PipelineId, PipelineRef};
use crate::plan::Plan;
use crate::registry::Registry;

/// How many plans are kept. A plan is made again in no time, so a simple bound will do.
const KEPT: usize = 256;

type Kept = HashMap<(PipelineId, u64), Arc<Plan>>;

/// Compiles plans and keeps them.
#[derive(Debug, Clone)]
pub(crate) struct Plans {
    registry: Arc<Registry>,
    kept: Arc<Mutex<Kept>>,
}

impl Plans {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            kept: Arc::default(),
        }
    }

    pub(crate) fn plan(
        &self,
        of: &PipelineRef,
        document: &Arc<Pipeline>,
    ) -> Result<Arc<Plan>, Vec<Fault>> {
        let key = (of.id, of.version);
        if let Some(plan) = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::compile(Arc::clone(document), &self.registry)?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&plan));
        Ok(plan)
    }
}
