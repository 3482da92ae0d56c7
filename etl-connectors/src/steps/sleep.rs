//! `sleep`: waits.

use std::time::Duration;

use etl_core::contract::{Connector, NoCredential, StepContext};
use etl_core::model::{Report, StepError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Waits, and does nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Sleep;

/// The configuration of a `sleep` step.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({ "seconds": 1.5 }))]
pub struct SleepConfig {
    /// How long, in seconds; fractions are allowed.
    #[schemars(range(min = 0.0, max = 31_536_000.0))]
    pub seconds: f64,
}

impl Connector for Sleep {
    const NAME: &'static str = "sleep";
    type Config = SleepConfig;
    type Credential = NoCredential;

    fn description(&self) -> &'static str {
        "Waits"
    }

    async fn run(
        &self,
        config: SleepConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        let duration = Duration::try_from_secs_f64(config.seconds)
            .map_err(|error| StepError::permanent("`seconds` is no duration").because(error))?;
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(Report::default()),
            () = ctx.cancelled().cancelled() => Err(StepError::transient("stopped while it waited")),
        }
    }
}
