//! Broken documents and what is said of them; parameters.

mod faults;
mod parameters;

use serde::Deserialize;

use crate::contract::{Connector, NoCredential, StepContext};
use crate::model::{Report, StepError};
use crate::registry::Registry;

/// A connector with the kinds of configuration that the built-in ones have: a tagged union, numbers, a nested object.
struct Copy;

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct CopyConfig {
    source: Source,
    sink: Source,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    on_bad_record: OnBad,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[allow(dead_code)]
enum Source {
    /// Comma-separated values.
    Csv {
        url: String,
        #[serde(default)]
        delimiter: Option<String>,
        #[serde(default)]
        header: Option<bool>,
    },
    /// Parquet.
    Parquet { url: String },
}

#[derive(Deserialize, schemars::JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
enum OnBad {
    #[default]
    Fail,
    Quarantine,
}

impl Connector for Copy {
    const NAME: &'static str = "copy";
    type Config = CopyConfig;
    type Credential = NoCredential;

    async fn run(
        &self,
        _: CopyConfig,
        _: Option<NoCredential>,
        _: StepContext,
    ) -> Result<Report, StepError> {
        Ok(Report::default())
    }
}

struct Anything;

impl Connector for Anything {
    const NAME: &'static str = "anything";
    type Config = std::collections::BTreeMap<String, serde_json::Value>;
    type Credential = NoCredential;

    async fn run(
        &self,
        _: Self::Config,
        _: Option<NoCredential>,
        _: StepContext,
    ) -> Result<Report, StepError> {
        Ok(Report::default())
    }
}

fn registry() -> Registry {
    Registry::new().with(Copy).with(Anything)
}
