//! Writes a connector: its configuration is a type, and the engine derives schema, checks and decoding from it.

use etl_core::contract::{Connector, NoCredential, Progress, StepContext};
use etl_core::model::{EffectClass, Pipeline, Report, Step, StepError};
use etl_core::sdk::Etl;
use serde_json::json;

/// Counts words.
struct WordCount;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct WordCountConfig {
    /// The text to count in.
    text: String,
    /// Words shorter than this don't count.
    #[serde(default)]
    shortest: usize,
}

impl Connector for WordCount {
    const NAME: &'static str = "word_count";
    type Config = WordCountConfig;
    type Credential = NoCredential;

    fn description(&self) -> &'static str {
        "Counts the words of a text"
    }

    fn effects(&self, _: &WordCountConfig) -> EffectClass {
        EffectClass::Idempotent
    }

    async fn run(
        &self,
        config: WordCountConfig,
        _: Option<NoCredential>,
        ctx: StepContext,
    ) -> Result<Report, StepError> {
        let words = config
            .text
            .split_whitespace()
            .filter(|word| word.chars().count() >= config.shortest)
            .count() as u64;
        ctx.progress(Progress {
            percent: Some(100),
            rows_processed: words,
            ..Progress::default()
        });
        ctx.info(format!("{words} words")).await;
        Ok(Report::rows(words).with_output(json!({ "words": words })))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut count = Step::new("count", "word_count");
    count.config = json!({ "text": "{{ params.text }}", "shortest": 4 });
    let mut pipeline = Pipeline::new("words");
    pipeline.parameters = json!({ "properties": { "text": { "type": "string" } } })
        .as_object()
        .cloned();
    pipeline.steps.push(count);

    let etl = Etl::builder().connector(WordCount).build();
    let parameters = json!({ "text": "to be or not to be, that is the question" });
    let outcome = etl
        .run(
            &pipeline,
            parameters.as_object().cloned().unwrap_or_default(),
        )
        .await?;
    let words = outcome.step("count").map(|step| step.rows_processed);
    println!("{words:?}");
    assert_eq!(words, Some(2));

    // What the configuration can't be is told before anything runs.
    pipeline.steps[0].config = json!({ "txt": "…" });
    let refused = etl.run(&pipeline, serde_json::Map::new()).await;
    println!(
        "{}",
        refused
            .as_ref()
            .err()
            .map(ToString::to_string)
            .unwrap_or_default()
    );
    assert!(refused.is_err());
    etl.shutdown().await;
    Ok(())
}
