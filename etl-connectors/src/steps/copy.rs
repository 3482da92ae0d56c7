//! `copy`: from a source to a sink in one stream.

use etl_core::contract::{Connector, NoCredential, StepContext};
use etl_core::model::{EffectClass, Report, StepError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report;
use crate::endpoint::{SinkConfig, SourceConfig};
use crate::flow::Flow;

/// Copies rows from a source to a sink.
#[derive(Debug, Clone, Copy, Default)]
pub struct Copy;

/// What a `copy` step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({
    "source": {"type": "csv", "url": "flights.csv.gz", "null_values": ["NA"]},
    "sink": {"type": "parquet", "url": "artifact://flights.parquet"},
}))]
pub struct CopyConfig {
    /// Where the rows come from.
    pub source: SourceConfig,
    /// Where the rows go.
    pub sink: SinkConfig,
}

impl Connector for Copy {
    const NAME: &'static str = "copy";
    type Config = CopyConfig;
    type Credential = NoCredential;

    fn description(&self) -> &'static str {
        "Copies rows from a source to a sink in one stream, through a SQL query if there is one."
    }

    fn effects(&self, config: &CopyConfig) -> EffectClass {
        config.sink.effects()
    }

    fn check(&self, config: &CopyConfig) -> Vec<(String, String)> {
        let source = config
            .source
            .faults()
            .into_iter()
            .map(|(key, message)| (format!("/source/{key}"), message));
        let sink = config
            .sink
            .faults()
            .into_iter()
            .map(|(key, message)| (format!("/sink/{key}"), message));
        source.chain(sink).collect()
    }

    async fn run(
        &self,
        config: CopyConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        let flow = Flow::new(ctx);
        let sink = config.sink.sink()?;
        let rows = config.source.source().open(&flow).await?;
        let staged = sink.stage(report::watched(rows, &flow), &flow).await?;
        let loaded = staged.publish(&flow).await?;
        report::finish(&flow, &loaded, false).await
    }
}
