//! `copy`: from a source to a sink in one stream.

use std::sync::Arc;

use etl_core::contract::{Connector, NoCredential, StepContext};
use etl_core::model::{EffectClass, Report, StepError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::report::{self, Counts};
use crate::endpoint::{SinkConfig, SourceConfig};
use crate::flow::Flow;
use crate::query::Session;

/// Copies rows from a source to a sink.
#[derive(Debug, Clone, Copy, Default)]
pub struct Copy;

/// What a `copy` step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({
    "source": {"type": "csv", "url": "flights.csv.gz", "null_values": ["NA"]},
    "query": "SELECT * FROM source WHERE dep_time IS NOT NULL",
    "sink": {"type": "parquet", "url": "artifact://flights.parquet"},
}))]
pub struct CopyConfig {
    /// Where the rows come from.
    pub source: SourceConfig,
    /// A query over the rows, which are the table `source`. Without it they are copied as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
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
        let source = config.source.faults_at("/source");
        let sink = config.sink.faults_at("/sink");
        source.into_iter().chain(sink).collect()
    }

    async fn run(
        &self,
        config: CopyConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        let flow = Flow::new(ctx);
        let sink = config.sink.sink()?;
        let source = config.source.source();
        let (rows, counts) = match &config.query {
            None => (source.open(&flow).await?, Counts::Direct),
            Some(query) => {
                let mut session = Session::new(&flow)?;
                session.add("source", Arc::from(source)).await?;
                (session.query(query).await?, Counts::Query)
            }
        };
        report::load(&*sink, report::watched(rows, &flow), &flow, counts).await
    }
}
