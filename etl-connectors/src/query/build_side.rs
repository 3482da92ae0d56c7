//! Which input of a join is kept in memory: the one that is read from fewer bytes.
//!
//! The engine decides by statistics. Of sources that it streams it has none, nor of texts in Parquet files, and of a join over
//! them none either; it then keeps the first input, however large. What is always known is how many bytes each input of the step is read from.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};

/// How many bytes each streamed input is read from.
#[derive(Debug, Default)]
pub(super) struct Sizes(Mutex<Vec<(Arc<dyn PartitionStream>, u64)>>);

impl Sizes {
    pub(super) fn insert(&self, stream: Arc<dyn PartitionStream>, bytes: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((stream, bytes));
    }

    fn of(&self, stream: &Arc<dyn PartitionStream>) -> Option<u64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .find(|(other, _)| std::ptr::addr_eq(Arc::as_ptr(other), Arc::as_ptr(stream)))
            .map(|(_, bytes)| *bytes)
    }

    /// The bytes that all inputs of a plan are read from; `None` if one of them is not known.
    fn below(&self, plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
        if let Some(stream) = plan.downcast_ref::<StreamingTableExec>() {
            return stream.partitions().iter().map(|one| self.of(one)).sum();
        }
        if let Some(files) = files_of(plan) {
            return Some(files);
        }
        let inputs = plan.children();
        if inputs.is_empty() {
            let statistics = StatisticsContext::new()
                .compute(&**plan, &StatisticsArgs::new())
                .ok()?;
            return statistics
                .total_byte_size
                .get_value()
                .map(|bytes| *bytes as u64);
        }
        inputs.into_iter().map(|input| self.below(input)).sum()
    }
}

/// The bytes of the files that a plan scans; `None` if it scans none.
fn files_of(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let scan = scan.data_source().downcast_ref::<FileScanConfig>()?;
    let files = scan.file_groups.iter().flat_map(FileGroup::files);
    Some(files.map(|file| file.object_meta.size).sum())
}

/// Makes the smaller input of each join the first. It has to come before inputs are dealt out to threads.
#[derive(Debug)]
pub(super) struct SmallerBuildSide(pub(super) Arc<Sizes>);

impl PhysicalOptimizerRule for SmallerBuildSide {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(join) = plan.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(plan));
            };
            let is_larger = match (self.0.below(join.left()), self.0.below(join.right())) {
                (Some(first), Some(second)) => first > second,
                _ => false,
            };
            if is_larger && join.join_type().supports_swap() && !join.null_aware {
                return join
                    .swap_inputs(*join.partition_mode())
                    .map(Transformed::yes);
            }
            Ok(Transformed::no(plan))
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "smaller_build_side"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
