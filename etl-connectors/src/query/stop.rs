//! Joins that can be stopped, however many rows they compare.
//!
//! The engine can only be stopped between two batches that an operator hands on. A join of a few thousand rows with themselves
//! hands on millions without asking for another batch, and one whose condition nothing meets hands on none at all: all that
//! time its task does not end, and would go on long after its step.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use tokio_util::sync::CancellationToken;

/// Makes every operator of several inputs pause after some batches, which is when its task can be ended.
#[derive(Debug)]
pub(super) struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            Ok(if plan.children().len() > 1 {
                Transformed::yes(Arc::new(CooperativeExec::new(plan)))
            } else {
                Transformed::no(plan)
            })
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "yielding_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Makes the conditions of joins fail once the step is told to stop. They are looked at for some thousand rows at a time.
#[derive(Debug)]
pub(super) struct StoppableJoins {
    condition: Arc<ScalarUDF>,
}

impl StoppableJoins {
    pub(super) fn new(stopped: CancellationToken) -> Self {
        let condition = Condition {
            stopped,
            signature: Signature::exact(vec![DataType::Boolean], Volatility::Immutable),
        };
        Self {
            condition: Arc::new(condition.into()),
        }
    }

    /// Whether it is stoppable already, or no work to speak of.
    fn may_stay(&self, condition: &Expr) -> bool {
        match condition {
            Expr::ScalarFunction(call) => call.func == self.condition,
            Expr::Literal(..) => true,
            _ => false,
        }
    }
}

impl OptimizerRule for StoppableJoins {
    fn name(&self) -> &'static str {
        "stoppable_joins"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        Ok(match plan {
            LogicalPlan::Join(mut join) => match join.filter.take() {
                Some(condition) if !self.may_stay(&condition) => {
                    join.filter = Some(self.condition.call(vec![condition]));
                    Transformed::yes(LogicalPlan::Join(join))
                }
                unchanged => {
                    join.filter = unchanged;
                    Transformed::no(LogicalPlan::Join(join))
                }
            },
            other => Transformed::no(other),
        })
    }
}

/// Its argument, or an error once the step is told to stop.
#[derive(Debug)]
struct Condition {
    stopped: CancellationToken,
    signature: Signature,
}

// One step has one such function.
impl PartialEq for Condition {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Condition {}

impl Hash for Condition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for Condition {
    fn name(&self) -> &'static str {
        "unless_stopped"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.stopped.is_cancelled() {
            return Err(DataFusionError::Execution("the query was stopped".into()));
        }
        args.args
            .pop()
            .ok_or_else(|| DataFusionError::Internal("a condition is missing".into()))
    }
}
