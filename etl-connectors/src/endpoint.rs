//! What a document may say as a source or a sink: every kind, one line each.

use etl_core::model::{EffectClass, StepError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::flow::{Sink, Source};

/// Where rows come from: `type` and the keys of that type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SourceConfig {
    /// CSV files.
    #[cfg(feature = "csv")]
    Csv(crate::csv::CsvSourceConfig),
    /// Parquet files.
    #[cfg(feature = "parquet")]
    Parquet(crate::parquet::ParquetSourceConfig),
}

/// Where rows go: `type` and the keys of that type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SinkConfig {
    /// CSV files.
    #[cfg(feature = "csv")]
    Csv(crate::csv::CsvSinkConfig),
    /// Parquet files.
    #[cfg(feature = "parquet")]
    Parquet(crate::parquet::ParquetSinkConfig),
}

/// A fault of a configuration that its schema can't express: (key, message).
pub(crate) type Fault = (&'static str, String);

impl SourceConfig {
    /// What reads it.
    pub(crate) fn source(&self) -> Box<dyn Source> {
        match self {
            #[cfg(feature = "csv")]
            Self::Csv(config) => Box::new(crate::csv::CsvSource::new(config.clone())),
            #[cfg(feature = "parquet")]
            Self::Parquet(config) => Box::new(crate::parquet::ParquetSource::new(config.clone())),
        }
    }

    /// What the schema can't say about it.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        match self {
            #[cfg(feature = "csv")]
            Self::Csv(config) => config.faults(),
            #[cfg(feature = "parquet")]
            Self::Parquet(_) => Vec::new(),
        }
    }
}

impl SinkConfig {
    /// What writes it.
    ///
    /// # Errors
    /// If the configuration has a fault.
    pub(crate) fn sink(&self) -> Result<Box<dyn Sink>, StepError> {
        Ok(match self {
            #[cfg(feature = "csv")]
            Self::Csv(config) => Box::new(config.sink()?),
            #[cfg(feature = "parquet")]
            Self::Parquet(config) => Box::new(config.sink()),
        })
    }

    /// How often its effect may happen.
    pub(crate) fn effects(&self) -> EffectClass {
        match self {
            #[cfg(feature = "csv")]
            Self::Csv(_) => EffectClass::Staged,
            #[cfg(feature = "parquet")]
            Self::Parquet(_) => EffectClass::Staged,
        }
    }

    /// What the schema can't say about it.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        match self {
            #[cfg(feature = "csv")]
            Self::Csv(config) => config.faults(),
            #[cfg(feature = "parquet")]
            Self::Parquet(_) => Vec::new(),
        }
    }
}
