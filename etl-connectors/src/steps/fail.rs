//! `fail`: fails on purpose, to try out what a pipeline does then.

use etl_core::contract::{Connector, NoCredential, StepContext};
use etl_core::model::{ErrorClass, Report, StepError};
use schemars::JsonSchema;
use serde::Deserialize;

/// Fails on purpose.
#[derive(Debug, Clone, Copy)]
pub struct Fail;

/// The configuration of a `fail` step.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({ "message": "no luck", "class": "transient", "times": 2 }))]
pub struct FailConfig {
    /// What the failure says.
    #[serde(default = "default_message")]
    pub message: String,
    /// The class of the failure: only `transient` and `throttled` ones are repeated.
    #[serde(default = "default_class")]
    pub class: ErrorClass,
    /// How many attempts fail before one succeeds; without it, all do.
    #[serde(default)]
    pub times: Option<u32>,
}

fn default_message() -> String {
    "failed on purpose".into()
}

fn default_class() -> ErrorClass {
    ErrorClass::Transient
}

impl Connector for Fail {
    const NAME: &'static str = "fail";
    type Config = FailConfig;
    type Credential = NoCredential;

    fn description(&self) -> &'static str {
        "Fails on purpose, always or for the first attempts"
    }

    async fn run(
        &self,
        config: FailConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        if config
            .times
            .is_some_and(|times| ctx.task().key.attempt > times)
        {
            return Ok(Report::default());
        }
        Err(StepError::new(config.class, config.message))
    }
}
