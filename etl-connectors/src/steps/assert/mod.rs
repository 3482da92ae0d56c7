//! `assert`: checks rows and fails the step when they are not as promised. It never changes a row.

mod checks;
mod config;
mod verdict;

use etl_core::contract::{Connector, NoCredential, StepContext};
use etl_core::model::{EffectClass, Report, StepError};

use crate::flow::Flow;
use crate::query::Session;

pub use config::{AcceptedValues, AssertConfig, Checks, OneOrMany, QueryCheck, RowCount, Scalar};

/// The name of the checked rows in the SQL of a `query` check.
const TABLE: &str = "input";

/// Checks rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Assert;

impl Connector for Assert {
    const NAME: &'static str = "assert";
    type Config = AssertConfig;
    type Credential = NoCredential;

    fn description(&self) -> &'static str {
        "Checks rows and fails the step, showing some that break a check, when they are not as promised."
    }

    fn effects(&self, _: &AssertConfig) -> EffectClass {
        EffectClass::Idempotent
    }

    fn check(&self, config: &AssertConfig) -> Vec<(String, String)> {
        let mut faults = config.input.faults("/input");
        faults.extend(config.checks.faults("/checks"));
        faults
    }

    async fn run(
        &self,
        config: AssertConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        if let Some((pointer, fault)) = self.check(&config).first() {
            return Err(StepError::permanent(format!("{pointer}: {fault}")));
        }
        let flow = Flow::new(ctx);
        let mut session = Session::new(&flow)?;
        session.add_input(TABLE, &config.input.config()?).await?;
        let (row_count, findings) = checks::run(&config.checks, &session, &flow).await?;
        flow.quarantine.publish(&flow.ctx).await?;
        verdict::of(row_count, &findings, &flow)
    }
}
