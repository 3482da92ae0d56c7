//! `sql`: a query over named inputs, to a sink or into the step's output.

use std::collections::BTreeMap;

use etl_core::contract::{Connector, NoCredential, StepContext};
use etl_core::model::{EffectClass, Report, StepError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::report;
use crate::endpoint::{InputConfig, SinkConfig};
use crate::flow::Flow;
use crate::json::rows_to_json;
use crate::query::{Metering, Session};

/// How many rows a step's output holds.
const MAX_OUTPUT_ROWS: usize = 1000;

/// Runs a query.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sql;

/// What a `sql` step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({
    "inputs": {"raw": "{{ steps.extract.artifacts['raw.parquet'] }}"},
    "query": "SELECT origin, count(*) AS flights FROM raw GROUP BY origin",
    "output": {"type": "parquet", "url": "artifact://flights.parquet"},
}))]
pub struct SqlConfig {
    /// The tables of the query, by name: a source each, or the URL of an artifact or file whose extension says what it is. The
    /// query can read nothing else; without inputs it can only compute.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputConfig>,
    /// One query (`SELECT` or `WITH`). Unquoted names are found in any case.
    pub query: String,
    /// Where the rows go. Without it up to 1,000 rows become the step's `output.rows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<SinkConfig>,
}

impl Connector for Sql {
    const NAME: &'static str = "sql";
    type Config = SqlConfig;
    type Credential = NoCredential;

    fn description(&self) -> &'static str {
        "Runs a SQL query over named inputs, into a sink or the step's output."
    }

    fn effects(&self, config: &SqlConfig) -> EffectClass {
        config
            .output
            .as_ref()
            .map_or(EffectClass::Idempotent, SinkConfig::effects)
    }

    fn check(&self, config: &SqlConfig) -> Vec<(String, String)> {
        let inputs = config.inputs.iter().flat_map(|(name, input)| {
            // RFC 6901 escapes these two in a pointer.
            let name = name.replace('~', "~0").replace('/', "~1");
            input.faults(&format!("/inputs/{name}"))
        });
        let output = config
            .output
            .iter()
            .flat_map(|sink| sink.faults_at("/output"));
        inputs.chain(output).collect()
    }

    async fn run(
        &self,
        config: SqlConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        let flow = Flow::new(ctx);
        let mut session = Session::new(&flow)?;
        let mut counts = report::Counts::Query;
        for (name, input) in &config.inputs {
            if session.add_input(name, &input.config()?).await? == Metering::None {
                counts = report::Counts::LoadedOnly;
            }
        }
        let rows = session.query(&config.query).await?;
        let mut rows = report::watched(rows, &flow);
        if let Some(output) = &config.output {
            return report::load(&*output.sink()?, rows, &flow, counts).await;
        }
        let (rows, more) = rows_to_json(&mut rows, MAX_OUTPUT_ROWS).await?;
        if more {
            return Err(StepError::permanent(format!(
                "the query gives more than {MAX_OUTPUT_ROWS} rows, and a step's output holds no more; give the step an \
                 `output`, such as {{type: parquet, url: \"artifact://rows.parquet\"}}, or a LIMIT"
            )));
        }
        flow.quarantine.publish(&flow.ctx).await?;
        let report = Report {
            rows_processed: rows.len() as u64,
            bytes_transferred: flow.meter.bytes_read(),
            ..Report::default()
        };
        Ok(report.with_output(json!({
            "row_count": rows.len(),
            "rows": rows,
            "rows_quarantined": flow.quarantine.count(),
        })))
    }
}
